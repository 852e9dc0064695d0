"""`greenedge export`: a trained network and its policy as files for machines without greenedge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote

from greenedge.config.schema import IMAGENET_MEAN, IMAGENET_STD
from greenedge.data.folders import check_replaceable
from greenedge.errors import DataError, UsageError
from greenedge.exits.policy import SavedPolicy, read_policy
from greenedge.inference.export import (
    MANIFEST,
    RUNNER,
    ExportMetadata,
    Kind,
    check_exporter,
    export_network,
    is_export,
    is_export_file,
)
from greenedge.inference.export_folder import PARTIAL, refilled
from greenedge.training.trained import TrainedModel, load_model
from greenedge.workflows.policies import PolicyOptions, note_policy_beside, resolve_policy


def export(weights: Path, options: PolicyOptions, out: Path, kind: Kind) -> list[str]:
    """Writes the graphs of a checkpoint's network, its policy and a manifest.

    Args:
        weights: a checkpoint.
        options: when images exit.
        out: a folder: a new or empty one, or a former export, which is replaced when all is done.
        kind: `onnx`, or `torch` for programs of `torch.export`.

    Returns:
        What to tell the user.

    Raises:
        GreenedgeError: something cannot be used or written; `out` is as it was.
    """
    check_exporter(kind)
    check_replaceable(out, "export of greenedge", is_export, leftover=PARTIAL)
    model = load_model(weights)
    saved = _saved_policy(model, options)
    data = model.config.data
    metadata = ExportMetadata(data.mean or IMAGENET_MEAN, data.std or IMAGENET_STD, model.stored_size, model.classes)
    try:
        with refilled(out, is_export_file, MANIFEST) as partial:
            export_network(model.network, saved, metadata, partial, kind)
    except OSError as error:
        raise DataError(f"{out}: {error.strerror or error}; nothing was kept") from None
    sizes = [path.stat().st_size for path in out.glob("segment-*")]
    lines = [
        f"{out}: {model.summary} for {data.input_size} px",
        f"{len(sizes)} segments, {sum(sizes) / 1e6:.1f} MB together, and the whole network in one",
        _describe(saved),
    ]
    note_policy_beside(model, options)
    return lines + ([f"next: python {quote(str(out / RUNNER))} {quote(str(out))} IMAGES.npy"] if kind == "onnx" else [])


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


def _describe(saved: SavedPolicy) -> str:
    text = str(saved.policy)
    return text if text.startswith("no image") else f"images exit by {text}"
