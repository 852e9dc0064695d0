"""`greenedge robustness`: what a policy does on corrupted images, and whether it holds its budget there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from greenedge.data.corrupted import CorruptedSet, clean_rows, find_corrupted
from greenedge.data.loader import build_transform
from greenedge.device.precision import RunPrecision
from greenedge.errors import UsageError
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy, shared_policy
from greenedge.exits.robustness import Robustness, shifted_point
from greenedge.exits.routing import route_outputs
from greenedge.exits.running_quantiles import is_continuous, rates_of_arrivals
from greenedge.reporting.blocks import CommandResult, write_result
from greenedge.reporting.robustness import present_robustness
from greenedge.training.trained import TrainedModel
from greenedge.workflows.evaluate import policy_for
from greenedge.workflows.models import build_engine
from greenedge.workflows.outputs import EvaluatedRun, PassOptions, load_or_compute_outputs
from greenedge.workflows.policies import PolicyOptions

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class ShiftOptions:
    """Which corrupted images, and what is asked of them.

    Attributes:
        root: a folder in the layout of ImageNet-C.
        corruptions: to take; empty: all that are there.
        hold_budget: whether limits also follow running quantiles.
        batch_size: images at a time.
    """

    root: Path
    corruptions: tuple[str, ...] = ()
    hold_budget: bool = False
    batch_size: int = 250


def robustness(
    model: TrainedModel, images: PassOptions, policies: PolicyOptions, shift: ShiftOptions, out: Path | None
) -> CommandResult[Robustness]:
    """Accuracy, exit rates and cost of a policy per corruption, beside the clean images that they were made of.

    Writes robustness.json, .csv and .png.

    Args:
        model: the network.
        images: the clean images, and the precision.
        policies: when images exit.
        shift: the corrupted images.
        out: folder for the results; None: the checkpoint's.

    Raises:
        GreenedgeError: the checkpoint, the policy or the images cannot be used.
    """
    sets = find_corrupted(shift.root, model.classes, shift.corruptions)
    run = load_or_compute_outputs(model, images, out)
    policy = policy_for(run, policies)
    rates = _calibration_rates(model, images, policy, out) if shift.hold_budget else None

    clean = shifted_point(_clean_outputs(run, sets), policy, rates)
    shifted = []
    for each, logits in zip(sets, _passes(model, sets, run.precision, shift), strict=True):
        outputs = ExitOutputs(logits, each.labels, run.outputs.gflops)
        shifted.append(shifted_point(outputs, policy, rates, each.corruption, each.severity))
    summary = replace(run.summary, split=f"clean {run.split.name}", images=clean.images)
    return write_result(
        present_robustness(summary, Robustness(policy, clean, tuple(shifted))), run.folder, "robustness"
    )


def _passes(
    model: TrainedModel, sets: tuple[CorruptedSet, ...], precision: RunPrecision, shift: ShiftOptions
) -> Iterator[np.ndarray]:
    """float32 (E, N, C) of each set, one at a time, since all together may be larger than the memory."""
    from greenedge.inference.collect_files import collect_file_logits  # takes a second to import

    engine = build_engine(model, shared_policy("entropy", None, model.num_exits - 1), precision)
    transform = build_transform(model.config.data, channels_last=model.own_precision is None)
    for each in sets:
        _log.info("%s, severity %d: %d images", each.corruption, each.severity, len(each.images))
        description = f"running {each.corruption} {each.severity}"
        yield collect_file_logits(
            engine, transform, each.images, model.stored_size, shift.batch_size, description=description
        )


def _clean_outputs(run: EvaluatedRun, sets: tuple[CorruptedSet, ...]) -> ExitOutputs:
    """Of the images that the corrupted ones were made of, as far as their names tell."""
    rows = clean_rows(run.split, sets)
    if rows is not None:
        return run.outputs.subset(rows)
    _log.warning(
        "note: not every corrupted image has a clean one of its name, so the clean images are all %d of the %s split",
        len(run.split),
        run.split.name,
    )
    return run.outputs


def _calibration_rates(model: TrainedModel, images: PassOptions, policy: ExitPolicy, out: Path | None) -> np.ndarray:
    """The exit rates to keep: those of the policy on the calibration images."""
    if not is_continuous(policy.get_criterion()):
        raise UsageError(
            f"--hold-budget needs scores that differ from image to image, and {policy.criterion} only counts exits; "
            "use a policy with another criterion"
        )
    calibration = load_or_compute_outputs(model, replace(images, split="calibration"), out)
    return rates_of_arrivals(route_outputs(calibration.outputs, policy).exits, model.num_exits)
