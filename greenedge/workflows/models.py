"""The networks that commands take: a checkpoint, which PyTorch runs, or the folder of an export in a runtime."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from greenedge.config.records import digest_of
from greenedge.device.precision import Precision, RunPrecision, choose_autocast, choose_device
from greenedge.device.processor import NO_VNNI, is_arm, sums_are_exact
from greenedge.errors import UsageError
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.manifest import MANIFEST, Manifest, is_export, needs_exact_sums, read_manifest
from greenedge.inference.runtimes import Runtime, runtime_version
from greenedge.training.checkpoint import Checkpoint, info_from_metadata
from greenedge.training.run_files import checkpoint_path
from greenedge.training.trained import TrainedModel, load_model, model_of

if TYPE_CHECKING:
    from greenedge.inference import Engine
    from greenedge.inference.exported import ExportedNetwork
    from greenedge.models.multi_exit import MultiExitNetwork

_log = logging.getLogger("greenedge")


@dataclass(frozen=True, eq=False, repr=False)
class ExportedModel(TrainedModel):
    """An export in place of the checkpoint that it was made of.

    Attributes:
        manifest: what it holds.
        runtime: that runs its segments.
    """

    manifest: Manifest = field(kw_only=True)
    runtime: Runtime = field(kw_only=True)

    @property
    def summary(self) -> str:
        """As that of the checkpoint, and what runs it."""
        return f"{super().summary}, exported for {self.runtime}"

    @property
    def own_precision(self) -> RunPrecision:
        """That of its graphs."""
        return self.manifest.precision

    @property
    def outputs_digest(self) -> str:
        """Of the graphs, and of what decides how they are computed here: in 8 bits, not all machines say the same."""
        computes = (self.runtime, runtime_version(self.runtime), sums_are_exact(), is_arm())
        return digest_of(repr((sorted(self.manifest.files.items()), computes)).encode())

    @property
    def network(self) -> MultiExitNetwork:
        """There is none.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self.path.parent}: is an export, which holds no PyTorch network; give the checkpoint")

    @cached_property
    def backend(self) -> ExportedNetwork:
        """Its segments, opened when first asked for.

        Raises:
            DataError: a file is missing or changed.
            InstallationError: the runtime is not installed, or cannot run it.
        """
        from greenedge.inference.exported import open_export

        return open_export(self.path.parent, self.manifest, self.runtime)


def open_model(weights: Path, runtime: Runtime | None = None) -> TrainedModel:
    """Reads what a command was given.

    Args:
        weights: a checkpoint, or the folder of an ONNX export.
        runtime: that runs an export; None: ONNX Runtime.

    Raises:
        CheckpointError: the checkpoint is missing or broken.
        DataError: the export is not one of this version, or was changed.
        UsageError: it is for PyTorch, or a runtime was named for a checkpoint.
    """
    if not is_export(weights):
        if runtime is not None:
            raise UsageError(f"--runtime is for the folder of an export, and {weights} is none; PyTorch runs it")
        return load_model(weights)
    manifest = read_manifest(weights)
    if manifest.kind != "onnx":
        raise UsageError(f"{weights}: is an export for PyTorch; give the checkpoint, or export with --format onnx")
    path = weights / MANIFEST
    if manifest.trained is None:
        raise UsageError(f"{weights}: does not say what it was trained on; export it from a checkpoint")
    own = model_of(path, Checkpoint({}, info_from_metadata(manifest.trained, path), manifest.weights))
    chosen = runtime or "onnxruntime"
    for sentence in _doubts(manifest, chosen):
        _log.warning("note: %s: %s", weights, sentence)
    return ExportedModel(path, own.checkpoint, own.config, own.members, manifest=manifest, runtime=chosen)


def _doubts(manifest: Manifest, runtime: Runtime) -> list[str]:
    """Why the export may not give here what it gave where it was made."""
    found = []
    if needs_exact_sums(manifest) and not sums_are_exact():
        found.append(f"its weights have 8 bits, and {NO_VNNI}; export it again on this machine")
    if manifest.precision == "int8" and runtime != "onnxruntime":
        found.append(
            f"{runtime} rounds int8 otherwise than ONNX Runtime, on whose logits export fitted its policy; "
            f"greenedge tune --runtime {runtime} fits one anew"
        )
    return found


def open_run(path: Path) -> TrainedModel:
    """Reads what `open_model` reads, or the best weights of a run directory."""
    return open_model(path if is_export(path) else checkpoint_path(path))


def resolve_precision(model: TrainedModel, requested: Precision | RunPrecision | None) -> RunPrecision:
    """The precision that a network runs in: an export in its own, PyTorch in what is asked for.

    Args:
        model: the network.
        requested: None: an export's own, else float32.

    Raises:
        UsageError: it cannot run in what is asked for.
    """
    own = model.own_precision
    if own is not None:
        if requested not in ("auto", None, own):
            raise UsageError(f"{model.path.parent}: is an export in {own}, and does not run in {requested}")
        return own
    if requested == "int8":
        raise UsageError(f"{model.path}: runs in int8 only as an export; give the export's folder as --weights")
    if requested != "auto":
        return requested or "float32"
    return "float32" if choose_autocast("auto", model.network, choose_device("auto")) is None else "bf16"


def build_engine(model: TrainedModel, policy: ExitPolicy, precision: Precision | RunPrecision) -> Engine:
    """An engine on the device at hand.

    Raises:
        UsageError: the network does not run in that precision, or the policy does not fit it.
    """
    from greenedge.inference import Engine  # takes a second to import, as what follows

    if isinstance(model, ExportedModel):
        resolve_precision(model, precision)
        return Engine(model.backend, policy)
    from greenedge.models.build import to_device

    chosen: Precision = "auto"
    if precision != "auto":  # by the engine's own rule
        chosen = cast(Precision, resolve_precision(model, precision))
    network = to_device(model.network, choose_device("auto"), channels_last=True)
    return Engine(network, policy, precision=chosen, cost=model.cost)
