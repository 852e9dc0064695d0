"""`greenedge export`: a trained network and its policy as files for machines without greenedge."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote

import numpy as np

from greenedge.config.schema import IMAGENET_MEAN, IMAGENET_STD
from greenedge.data.folders import check_replaceable
from greenedge.data.loader import build_transform
from greenedge.errors import CheckpointError, DataError, UsageError
from greenedge.exits.evaluation import evaluate_policy, exit_intervals
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy
from greenedge.inference.export import (
    CARD,
    PARITY,
    RUNNER,
    ExportMetadata,
    complete_export,
    export_network,
    is_export_file,
)
from greenedge.inference.export_check import CheckedExport, check_export
from greenedge.inference.export_folder import PARTIAL, refilled
from greenedge.inference.export_parity import measure_parity
from greenedge.inference.graphs import check_exporter
from greenedge.inference.manifest import MANIFEST, Kind, is_export
from greenedge.inference.parity_report import ParityReport, Source, seeded_images
from greenedge.reporting.blocks import CommandResult
from greenedge.reporting.export import present_check
from greenedge.reporting.model_card import MeasuredExits, model_card
from greenedge.training.checkpoint import info_to_metadata
from greenedge.training.trained import TrainedModel, load_model, open_data
from greenedge.workflows.outputs import PassOptions, kept_outputs, open_images
from greenedge.workflows.policies import PolicyOptions, note_policy_beside, resolve_policy

_PARITY_IMAGES = 64

_log = logging.getLogger("greenedge")


def export(weights: Path, options: PolicyOptions, out: Path, kind: Kind, data: Path | None = None) -> list[str]:
    """Writes the graphs of a checkpoint's network, its policy, a model card, a parity report and a manifest.

    What was written is run beside the network first, and is kept only if both say the same.

    Args:
        weights: a checkpoint.
        options: when images exit.
        out: a folder: a new or empty one, or a former export, which is replaced when all is done.
        kind: `onnx`, or `torch` for programs of `torch.export`.
        data: a prepared data set, for the parity report and the model card; None: the one trained on, if it is here.

    Returns:
        What to tell the user.

    Raises:
        GreenedgeError: something cannot be used or written, or the export differs from the network; `out` is as it was.
    """
    check_exporter(kind)
    check_replaceable(out, "export of greenedge", is_export, leftover=PARTIAL)
    model = load_model(weights)
    saved = _saved_policy(model, options)
    images, measured = _parity_images(model, data), _measured(model, data, saved.policy)
    try:
        with refilled(out, is_export_file, MANIFEST) as partial:
            manifest = export_network(model.network, saved, _metadata(model), partial, kind)
            transform = build_transform(model.config.data, channels_last=False)
            parity = measure_parity(model.network, saved.policy, partial, manifest, images, transform)
            texts = {
                PARITY: json.dumps(asdict(parity), indent=2, allow_nan=False) + "\n",
                CARD: model_card(model, saved, manifest, parity, measured),
            }
            complete_export(partial, manifest, texts)
    except OSError as error:
        raise DataError(f"{out}: {error.strerror or error}; nothing was kept") from None
    sizes = [path.stat().st_size for path in out.glob("segment-*")]
    lines = [
        f"{out}: {model.summary} for {model.config.data.input_size} px",
        f"{len(sizes)} segments, {sum(sizes) / 1e6:.1f} MB together, and the whole network in one",
        _describe(saved),
        _describe_parity(parity),
    ]
    note_policy_beside(weights, options)
    return lines + ([f"next: python {quote(str(out / RUNNER))} {quote(str(out))} IMAGE..."] if kind == "onnx" else [])


def check(folder: Path) -> CommandResult[CheckedExport]:
    """Verifies an exported folder: digests, versions, the policy, and what the graphs say.

    Raises:
        GreenedgeError: what is wrong with it.
    """
    return present_check(folder, check_export(folder))


def _metadata(model: TrainedModel) -> ExportMetadata:
    data = model.config.data
    return ExportMetadata(
        mean=data.mean or IMAGENET_MEAN,
        std=data.std or IMAGENET_STD,
        stored_size=model.stored_size,
        classes=model.classes,
        weights=model.digest,
        trained=info_to_metadata(model.checkpoint.info),
    )


def _saved_policy(model: TrainedModel, options: PolicyOptions) -> SavedPolicy:
    """When images exit, with how that was chosen where a file says it."""
    policy = resolve_policy(model, options)
    if options.policy is None:
        return SavedPolicy(policy, model.exits, model.digest)
    if policy.precision == "bf16":
        raise UsageError(
            f"{options.policy}: was chosen in bf16, and exported graphs run in float32, where other images would exit; "
            "tune again with --precision float32"
        )
    return replace(read_policy(options.policy, model.exits, model.digest), weights=model.digest)


def _parity_images(model: TrainedModel, data: Path | None) -> tuple[Source, np.ndarray]:
    """Images that the network was not trained on, uint8 (N, 3, T, T), and where they are from."""
    if data is not None:
        open_data(model, data)  # what was named must be of use; what was not may be absent
    splits: tuple[Source, ...] = ("calibration", "val")
    for name in splits:
        try:
            split = open_images(model, PassOptions(data, name))
            rows = np.random.default_rng(0).permutation(split.rows)[:_PARITY_IMAGES]
            return name, split.read(np.sort(rows))
        except (DataError, CheckpointError):
            continue
    _log.info("no images of the data set are here; the export is compared with the network on random ones (--data)")
    return "random", seeded_images(_PARITY_IMAGES, model.stored_size)


def _measured(model: TrainedModel, data: Path | None, policy: ExitPolicy) -> MeasuredExits | None:
    """What outputs that an evaluation has kept beside the weights say of the policy; None where there are none."""
    try:
        split = open_images(model, PassOptions(data))
    except (DataError, CheckpointError):
        return None
    outputs = kept_outputs(model, split, "float32", model.path.parent)
    if outputs is None:
        return None
    name = (data or Path(model.config.data.path)).resolve().name
    return MeasuredExits(split.name, name, evaluate_policy(outputs, policy), exit_intervals(outputs, policy))


def _describe(saved: SavedPolicy) -> str:
    text = str(saved.policy)
    return text if text.startswith("no image") else f"images exit by {text}"


def _describe_parity(parity: ParityReport) -> str:
    return (
        f"compared with the network on {parity.images} {parity.source} images: logits within {parity.relative:.1g} of "
        f"their scale, {100 * parity.equal_exits:.4g} % equal exits, {100 * parity.equal_predictions:.4g} % equal "
        "predictions"
    )
