"""`greenedge export`: a trained network and its policy as files for machines without greenedge."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from greenedge.config.schema import IMAGENET_MEAN, IMAGENET_STD
from greenedge.data.folders import check_replaceable
from greenedge.data.loader import build_transform
from greenedge.data.prepared import PreparedSplit
from greenedge.errors import CheckpointError, DataError, UsageError
from greenedge.exits.evaluation import evaluate_policy, exit_intervals
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy
from greenedge.inference.export import (
    CARD,
    PARITY,
    RUNNER,
    ExportMetadata,
    QuantizedExport,
    complete_export,
    export_network,
    is_export_file,
    is_export_result,
)
from greenedge.inference.export_check import CheckedExport, check_export
from greenedge.inference.export_folder import PARTIAL, refilled
from greenedge.inference.export_parity import measure_parity
from greenedge.inference.graphs import check_exporter, check_size
from greenedge.inference.manifest import MANIFEST, Kind, is_export
from greenedge.inference.parity_report import ParityReport, Source, seeded_images
from greenedge.reporting.blocks import CommandResult, render_text
from greenedge.reporting.export import policy_sentence, present_check
from greenedge.reporting.int8 import int8_blocks, int8_record
from greenedge.reporting.model_card import MeasuredExits, model_card
from greenedge.training.checkpoint import info_to_metadata
from greenedge.training.trained import TrainedModel, load_model, open_data
from greenedge.workflows.models import open_model
from greenedge.workflows.outputs import PassOptions, keep_outputs, kept_outputs, open_images
from greenedge.workflows.policies import PolicyOptions, note_policy_beside, resolve_policy
from greenedge.workflows.quantize import Int8Network, Int8Options, quantize_model

_PARITY_IMAGES = 64

_log = logging.getLogger("greenedge")


def export(
    weights: Path,
    options: PolicyOptions,
    out: Path,
    kind: Kind,
    data: Path | None = None,
    int8: Int8Options | None = None,
) -> list[str]:
    """Writes the graphs of a checkpoint's network, its policy, a model card, a parity report and a manifest.

    What was written is run beside the network first, and is kept only if both say the same.

    Args:
        weights: a checkpoint.
        options: when images exit.
        out: a folder: a new or empty one, or a former export, which is replaced when all is done.
        kind: `onnx`, or `torch` for programs of `torch.export`.
        data: a prepared data set, for the parity report and the model card; None: the one trained on, if it is here.
        int8: quantise the network, which needs that data set; None: graphs run in float32.

    Returns:
        What to tell the user.

    Raises:
        GreenedgeError: something cannot be used or written, or the export differs from the network; `out` is as it was.
    """
    check_exporter(kind)
    check_replaceable(out, "export of greenedge", is_export, leftover=PARTIAL)
    model = load_model(weights)
    saved = _saved_policy(model, options)
    images = _parity_images(model, data)
    try:
        with refilled(out, lambda name: is_export_file(name) or is_export_result(name), MANIFEST) as partial:
            found = None if int8 is None else _quantized(model, saved, int8, data)
            if found is None:
                measured, quantized = _measured(model, data, saved.policy), None
            else:
                saved = found.saved
                measured = _measured_outputs(model, data, found.split, found.outputs, saved.policy)
                quantized = QuantizedExport(found.graph.model, _record(found))
            manifest = export_network(model.network, saved, _metadata(model), partial, kind, quantized)
            transform = build_transform(model.config.data, channels_last=False)
            parity = measure_parity(model.network, saved.policy, partial, manifest, images, transform)
            comparison = None if found is None else found.comparison
            texts = {
                PARITY: json.dumps(asdict(parity), indent=2, allow_nan=False) + "\n",
                CARD: model_card(model, saved, manifest, parity, measured, comparison),
            }
            complete_export(partial, manifest, texts)
    except OSError as error:
        raise DataError(f"{out}: {error.strerror or error}; nothing was kept") from None
    sizes = [path.stat().st_size for path in out.glob("segment-*")]
    lines = [
        f"{out}: {model.summary} for {model.config.data.input_size} px",
        f"{len(sizes)} segments, {sum(sizes) / 1e6:.1f} MB together, and the whole network in one",
        policy_sentence(saved.policy),
        _describe_parity(parity),
    ]
    note_policy_beside(model, options)
    if found is not None:
        keep_outputs(found.outputs, open_model(out), found.split, "int8", out)
        table = render_text(int8_blocks(found.comparison, found.split.name))
        lines += ["", *table.splitlines(), *_describe_int8(found)]
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
    if policy.precision not in (None, "float32"):
        raise UsageError(
            f"{options.policy}: was chosen in {policy.precision}, and an export takes one that was chosen in float32; "
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
    return None if outputs is None else _measured_outputs(model, data, split, outputs, policy)


def _measured_outputs(
    model: TrainedModel, data: Path | None, split: PreparedSplit, outputs: ExitOutputs, policy: ExitPolicy
) -> MeasuredExits:
    name = (data or Path(model.config.data.path)).resolve().name
    return MeasuredExits(split.name, name, evaluate_policy(outputs, policy), exit_intervals(outputs, policy))


def _quantized(model: TrainedModel, saved: SavedPolicy, int8: Int8Options, data: Path | None) -> Int8Network:
    check_size(model.network)
    return quantize_model(model, saved, replace(int8, data=data))


def _record(found: Int8Network) -> dict[str, Any]:
    """How a network was quantised and what that costs, for the manifest."""
    return {
        "weight_bits": found.weight_bits,
        "float_layers": list(found.graph.keep_float),
        "float_share": found.graph.float_share,
        "range_images": found.range_images,
        "search_images": found.search_images,
        "policy_refitted": found.refitted,
        "comparison": int8_record(found.comparison, found.split.name),
    }


def _describe_int8(found: Int8Network) -> list[str]:
    graph = found.graph
    lines = []
    if graph.keep_float:
        lines.append(
            f"{len(graph.keep_float)} convolutions ({100 * graph.float_share:.1f} % of the multiply-adds) stayed in "
            f"float32; without them an exit lost {100 * graph.loss_before:.2f} points on {found.search_images} images"
        )
    if found.refitted:
        lines.append("the policy was fitted anew on the int8 logits, within the mean cost of the former one")
    elif not str(found.saved.policy).startswith("no image"):
        lines.append("note: thresholds were given, not chosen on images, so they are as they were")
    return lines


def _describe_parity(parity: ParityReport) -> str:
    return (
        f"compared with the network on {parity.images} {parity.source} images: logits within {parity.relative:.1g} of "
        f"their scale, {100 * parity.equal_exits:.4g} % equal exits, {100 * parity.equal_predictions:.4g} % equal "
        "predictions"
    )
