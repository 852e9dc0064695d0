"""Whether an exported folder says what the network says: measured when it is written, and again without the network.

What was written is loaded again, by the code that is shipped with it. Logits may differ by rounding; where an image
exits and what it is predicted may then differ too, but only as those logits say.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from greenedge.data.loader import InputTransform
from greenedge.errors import DataError, InstallationError
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.routing import RoutedImages, route_outputs
from greenedge.inference.engine import Engine
from greenedge.inference.export import PARITY
from greenedge.inference.exported import open_export
from greenedge.inference.loaded_export import BATCH, LoadedExport, load_export
from greenedge.inference.manifest import Manifest
from greenedge.inference.parity_report import (
    FORMAT,
    STEP_TOLERANCE,
    TOLERANCE,
    ExitParity,
    ParityReport,
    SeededLogits,
    Source,
    seeded_images,
)
from greenedge.models.multi_exit import MultiExitNetwork

if TYPE_CHECKING:
    from greenedge.inference.onnx_runner import Runner

_SEEDED_IMAGES, _SEEDED_CLASSES = 8, 10


def measure_parity(
    network: MultiExitNetwork,
    policy: ExitPolicy,
    folder: Path,
    manifest: Manifest,
    images: tuple[Source, np.ndarray],
    transform: InputTransform,
) -> ParityReport:
    """Runs what was exported beside the engine: that of the network in float32, or that of the export in 8 bits.

    Args:
        network: that was exported.
        policy: that was exported with it.
        folder: of the export.
        manifest: of the export.
        images: where they are from, and uint8 (N, 3, T, T), as they are stored.
        transform: from those to the network's input, as in training.

    Raises:
        InstallationError: the runtime is missing, cannot run the graphs, or gives something else than the network.
    """
    source, stored = images
    loaded, engine = load_export(folder, manifest), _engine(network, policy, folder, manifest)
    tensors = transform(torch.from_numpy(np.ascontiguousarray(stored)))
    inputs = tensors.numpy()
    expected = np.concatenate([engine.logits(batch).cpu().numpy() for batch in torch.split(tensors, BATCH)], axis=1)
    chained, whole = loaded.chained(inputs), loaded.at_once(inputs)
    exits = tuple(
        ExitParity(each.after, max(1.0, float(np.abs(right).max())), *(_difference(right, found) for found in others))
        for each, right, *others in zip(manifest.exits, expected, chained, whole, strict=True)
    )
    worst = max(range(len(exits)), key=lambda index: exits[index].relative)
    if not exits[worst].relative <= TOLERANCE:
        raise _broken(manifest, f"logits of exit {worst + 1} differ by {exits[worst].relative:.1g} of their scale")

    preprocessing = None
    if loaded.runner is not None:
        preprocessing = _difference(inputs, loaded.runner.prepare(stored))
        if not preprocessing <= TOLERANCE * max(1.0, float(np.abs(inputs).max())):
            raise _broken(manifest, f"the runner's preprocessing of images differs by {preprocessing:.1g}")
    wanted, found = (_routed(policy, logits) for logits in (expected, chained))
    exits_found, predictions_found = found.exits, found.predictions
    if loaded.runner is not None:
        exits_found, predictions_found = _checked_routes(loaded.runner, policy, inputs, found, manifest)
    return ParityReport(
        format=FORMAT,
        images=len(stored),
        source=source,
        reference=f"engine of greenedge {manifest.versions['greenedge']} in {manifest.precision}, torch "
        f"{torch.__version__}",
        runtime=loaded.runtime,
        tolerance=TOLERANCE,
        exits=exits,
        preprocessing=preprocessing,
        equal_predictions=float((wanted.predictions == predictions_found).mean()),
        equal_exits=float((wanted.exits == exits_found).mean()),
        verdict="equal",
        seeded=_seeded_logits(engine, transform, manifest),
    )


def compare_seeded(loaded: LoadedExport, report: ParityReport, manifest: Manifest) -> tuple[float, float]:
    """An export on images made from a seed: its whole graph beside its segments, and those beside the network.

    Args:
        loaded: the export.
        report: of when it was written.
        manifest: of the export.

    Returns:
        The largest differences of the logits over their scale: of the whole graph and the segments; of the segments
        and the network.

    Raises:
        DataError: there is a difference beyond the tolerance, or the report does not fit the export.
    """
    size, of = manifest.image_size, manifest.preprocessing
    stored = torch.from_numpy(seeded_images(report.seeded.images, of.stored_size))
    inputs = InputTransform(size, of.mean, of.std)(stored).numpy()
    chained, whole = loaded.chained(inputs), loaded.at_once(inputs)
    try:
        known = np.array(report.seeded.logits, dtype=np.float32)
        own = chained[:, :, : known.shape[2]]
        if known.shape != own.shape or known.shape[2] == 0:
            raise ValueError
    except (ValueError, IndexError):
        raise DataError(f"{PARITY}: its logits are not those of {len(chained)} exits; export again") from None

    found = []
    other_machine = TOLERANCE if manifest.precision == "float32" else STEP_TOLERANCE
    pairs = (
        ("whole graph and the segments", chained, whole, TOLERANCE),
        ("network and the export", known, own, other_machine),
    )
    for name, one, other, tolerance in pairs:
        scale = np.maximum(1, np.abs(chained).max(axis=(1, 2)))
        differences = np.abs(one - other).max(axis=(1, 2)) / scale
        if not (differences <= tolerance).all():
            index = int(np.nanargmax(np.where(np.isnan(differences), np.inf, differences)))
            raise DataError(
                f"the {name} differ at exit {index + 1} by {differences[index]:.1g} of the logits' scale, more than "
                f"{tolerance:g}; export again, or use the runtime of {report.runtime}"
            )
        found.append(float(differences.max()))
    return found[0], found[1]


def _engine(network: MultiExitNetwork, policy: ExitPolicy, folder: Path, manifest: Manifest) -> Engine:
    if manifest.precision == "float32":
        return Engine(network, policy, precision="float32")
    return Engine(open_export(folder, manifest, "onnxruntime"), policy)


def _seeded_logits(engine: Engine, transform: InputTransform, manifest: Manifest) -> SeededLogits:
    images = seeded_images(_SEEDED_IMAGES, manifest.preprocessing.stored_size)
    logits = engine.logits(transform(torch.from_numpy(images)))[:, :, :_SEEDED_CLASSES]
    return SeededLogits(_SEEDED_IMAGES, tuple(tuple(map(tuple, exit_logits)) for exit_logits in logits.tolist()))


def _routed(policy: ExitPolicy, logits: np.ndarray) -> RoutedImages:
    """From the logits of all exits; labels and costs are of no matter."""
    exits, images, _ = logits.shape
    return route_outputs(ExitOutputs(logits, np.zeros(images, np.int64), np.zeros(exits)), policy)


def _checked_routes(
    runner: Runner, policy: ExitPolicy, inputs: np.ndarray, routed: RoutedImages, manifest: Manifest
) -> tuple[np.ndarray, np.ndarray]:
    """Exits and predictions of the runner, which must be those that its graphs' logits mean under the policy.

    Images whose score is a rounding away from the threshold may exit on either side of it.
    """
    parts = [runner.predict(inputs[start : start + BATCH]) for start in range(0, len(inputs), BATCH)]
    exits, predictions = (np.concatenate([getattr(each, name) for each in parts]) for name in ("exits", "predictions"))
    limits = np.array(policy.uncertainty_limits).reshape(-1, 1)
    near = (np.abs(routed.scores.uncertainty - limits) <= TOLERANCE).any(axis=0)
    rows = np.arange(len(exits))
    gone_by = routed.joined.logits[exits, rows]
    short = gone_by.max(axis=1) - gone_by[rows, predictions]  # 0 where the prediction is the likeliest class
    wrong = (exits != routed.exits) & ~near
    wrong |= short > TOLERANCE * np.maximum(1, np.abs(gone_by).max(axis=1))
    if wrong.any():
        raise _broken(manifest, f"the runner predicts {wrong.sum()} of {len(wrong)} images otherwise")
    return exits, predictions


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest absolute one; infinite where a number is NaN."""
    largest = float(np.abs(one.astype(np.float64) - other).max())
    return largest if np.isfinite(largest) else np.inf


def _broken(manifest: Manifest, what: str) -> InstallationError:
    versions = ", ".join(f"{name} {number}" for name, number in manifest.versions.items() if name != "greenedge")
    return InstallationError(
        f"what was exported is not what the network gives: {what}; try other versions ({versions})"
    )
