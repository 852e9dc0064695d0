"""`greenedge bench`: measured latency, throughput and energy, beside what the FLOPs predict."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from greenedge.data.loader import build_transform
from greenedge.data.prepared import PreparedSplit
from greenedge.data.run_splits import open_named_split
from greenedge.device.precision import Precision, choose_device
from greenedge.errors import DataError, InstallationError, UsageError
from greenedge.exits.policy import ExitPolicy, read_policy
from greenedge.inference.bench_result import BenchResult
from greenedge.inference.benchmark import BenchOptions, benchmark_exports, benchmark_policy
from greenedge.inference.contenders import NamedExport
from greenedge.inference.exported import open_backbone
from greenedge.inference.manifest import POLICY, is_export
from greenedge.inference.runtimes import RUNTIMES, is_installed
from greenedge.models.build import to_device
from greenedge.reporting.bench import present_bench
from greenedge.reporting.blocks import CommandResult, write_result
from greenedge.training.trained import TrainedModel, open_data
from greenedge.workflows.models import ExportedModel, open_model, resolve_precision
from greenedge.workflows.policies import (
    PolicyOptions,
    note_policy_beside,
    requested_precision,
    resolve_policy,
    with_policy_beside,
)

_log = logging.getLogger("greenedge")


def bench(
    weights: Path,
    data: Path | None,
    policy_options: PolicyOptions,
    precision: Precision | None,
    options: BenchOptions,
    out: Path | None,
    exports: Sequence[Path] = (),
) -> CommandResult[BenchResult]:
    """Times the backbone, and the engine without early exit and under a policy; writes bench.json, .csv, .png.

    Args:
        weights: the checkpoint, or the folder of an ONNX export, which is then timed alone in each runtime here.
        data: a prepared data set, whose validation images are run; None: the one trained on.
        policy_options: when images exit; of an export, where nothing is said, by its own policy.
        precision: None: that of the policy, else `auto`.
        options: how contenders are timed.
        out: folder for the results; None: the checkpoint's.
        exports: folders of ONNX exports of the same weights, each timed under its own policy in each runtime here.

    Raises:
        GreenedgeError: the checkpoint, the data or the policy cannot be used.
    """
    model = open_model(weights)
    several = len(exports) + isinstance(model, ExportedModel) > 1
    others = [each for folder in exports for each in _open_export(folder, model, named=several)]
    split = _split(model, data)
    images = _images(model, split, options.images)
    if isinstance(model, ExportedModel):
        resolve_precision(model, requested_precision(model, policy_options, precision, "auto"))
        policy = resolve_policy(model, with_policy_beside(model, policy_options))
        own = [replace(each, policy=policy) for each in _open_export(model.path.parent, model, named=several)]
        found = _bench_exports([*own, *others], images, options)
    else:
        found = _bench_network(model, policy_options, precision, images, options, others)
    result = present_bench(model.summary, split.name, len(split), found)
    return write_result(result, out or model.path.parent, "bench")


@dataclass(frozen=True, eq=False)
class _OpenExport:
    """An export in one runtime, under a policy."""

    name: str
    model: ExportedModel
    policy: ExitPolicy

    @property
    def named(self) -> NamedExport:
        """As the benchmark takes it."""
        return self.name, self.model.backend, self.policy


def _bench_network(
    model: TrainedModel,
    policy_options: PolicyOptions,
    precision: Precision | None,
    images: Tensor,
    options: BenchOptions,
    exports: Sequence[_OpenExport],
) -> BenchResult:
    note_policy_beside(model, policy_options)
    policy = resolve_policy(model, policy_options)
    chosen_in = requested_precision(model, policy_options, precision, "auto")
    if chosen_in == "int8":
        raise UsageError(f"{policy_options.policy}: was chosen for an export in int8; name that with --export")
    device = choose_device("auto")
    network = to_device(model.network, device, channels_last=False)
    named = [each.named for each in exports]
    return benchmark_policy(network, policy, images.to(device), replace(options, precision=chosen_in), named)


def _bench_exports(exports: Sequence[_OpenExport], images: Tensor, options: BenchOptions) -> BenchResult:
    if options.compiled:
        raise UsageError("--compile is for PyTorch, which runs no export; leave it out, or give the checkpoint")
    if not exports:
        raise InstallationError("nothing here runs an export; pip install 'greenedge[onnx]'")
    backbones = [open_backbone(each.model.path.parent, each.model.manifest, each.model.runtime) for each in exports]
    return benchmark_exports([each.named for each in exports], backbones, exports[0].model.cost, images, options)


def _open_export(folder: Path, model: TrainedModel, *, named: bool) -> Iterator[_OpenExport]:
    """An export in each runtime that is installed; `named`: the name of its folder tells it from other exports."""
    if not is_export(folder):
        raise UsageError(f"{folder}: is no export; greenedge export --format onnx writes one")
    for runtime in filter(is_installed, RUNTIMES):
        export = open_model(folder, runtime)
        assert isinstance(export, ExportedModel)
        if export.digest != model.digest:
            raise UsageError(f"{folder}: was exported from other weights than {model.path}")
        own = read_policy(folder / POLICY, export.exits, export.digest).policy
        where = f" of {folder.resolve().name}" if named else ""
        name = f"{runtime} {export.manifest.precision}{where}"
        try:
            _ = export.backend  # or a sentence
        except InstallationError as error:
            _log.warning("left out: %s: %s", name, error)
            continue
        yield _OpenExport(name, export, own)


def _split(model: TrainedModel, data: Path | None) -> PreparedSplit:
    """The validation images; where there are none, the calibration images, which is logged."""
    prepared = open_data(model, data)
    if "val" in prepared.splits:
        return prepared.split("val")
    split = open_named_split(prepared, "calibration", model.config.data)
    if len(split) == 0:
        raise DataError(f"{prepared.path}: has neither validation nor calibration images to time; give --data")
    _log.warning("note: %s has no validation images; the %d calibration images are timed", prepared.path, len(split))
    return split


def _images(model: TrainedModel, split: PreparedSplit, count: int) -> Tensor:
    """A split's images in random order, normalised; repeated where there are too few."""
    rows = split.rows[np.random.default_rng(0).permutation(len(split))]
    chosen = np.resize(rows, count)
    return build_transform(model.config.data, channels_last=False)(torch.from_numpy(split.read(chosen)))
