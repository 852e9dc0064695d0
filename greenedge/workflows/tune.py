"""`greenedge tune`: thresholds chosen on the calibration images, and what they do on the validation images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from greenedge.device.precision import Precision
from greenedge.errors import CheckpointError, UsageError
from greenedge.exits.bootstrap import (
    accuracy_interval,
    bootstrap_points,
    bootstrap_weights,
    difference_interval,
    interval,
)
from greenedge.exits.calibration import fit_temperatures
from greenedge.exits.confidence import find_criterion
from greenedge.exits.frontier import Frontier, pareto_frontier, shared_frontier
from greenedge.exits.policy import ExitPolicy, SavedPolicy, write_policy
from greenedge.exits.sweep import ExitScores, OperatingPoint, score_outputs
from greenedge.exits.tuning import cheapest_above, midpoint_thresholds, most_accurate_within, risk_controlled
from greenedge.files import write_json
from greenedge.reporting.frontier_plot import ChosenPoint, draw_frontiers
from greenedge.reporting.tables import format_table
from greenedge.workflows.outputs import EvaluatedRun, has_split, load_or_compute_outputs
from greenedge.workflows.policies import POLICY
from greenedge.workflows.report import Report

_POINTS_DRAWN = 200
_FEW_IMAGES = 200
_KINDS = {"per-exit": pareto_frontier, "shared": shared_frontier}


@dataclass(frozen=True)
class Goal:
    """What is asked of a policy; exactly one of the first three is given.

    Attributes:
        budget_gflops: at most this mean cost, as accurate as possible.
        min_accuracy: at least this accuracy, in (0, 1], as cheaply as possible.
        max_loss: at most this much accuracy, in (0, 1), below the final exit's, with `confidence`; cheaply.
        confidence: in (0, 1).

    Raises:
        UsageError: none or several are given, or a number that cannot be.
    """

    budget_gflops: float | None = None
    min_accuracy: float | None = None
    max_loss: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Checks the numbers."""
        given = [each for each in (self.budget_gflops, self.min_accuracy, self.max_loss) if each is not None]
        if len(given) != 1:
            raise UsageError("say what to aim for with one of --budget, --min-accuracy and --max-loss")
        if self.budget_gflops is not None and not 0 < self.budget_gflops < float("inf"):
            raise UsageError(f"--budget must be a number of GFLOPs above 0, found {self.budget_gflops:g}")
        if self.min_accuracy is not None and not 0 < self.min_accuracy <= 1:
            raise UsageError(f"--min-accuracy must lie above 0 and be at most 1 (0.7 is 70 %), found {given[0]:g}")
        if self.max_loss is not None and not 0 < self.max_loss < 1:
            raise UsageError(f"--max-loss must lie between 0 and 1 (0.01 is one point), found {given[0]:g}")
        if not 0 < self.confidence < 1:
            raise UsageError(f"--confidence must lie between 0 and 1, found {self.confidence:g}")

    def __str__(self) -> str:
        if self.budget_gflops is not None:
            return f"the best within {self.budget_gflops:g} GFLOPs"
        if self.min_accuracy is not None:
            return f"the cheapest of at least {100 * self.min_accuracy:g} %"
        return f"the cheapest that loses at most {self.max_loss:g} with confidence {self.confidence:g}"


@dataclass(frozen=True)
class _Candidate:
    """A policy of one kind: the front it was taken from, and what it does."""

    front: Frontier
    policy: ExitPolicy
    chosen_on: OperatingPoint
    val: OperatingPoint


@dataclass(frozen=True)
class TuneOptions:
    """How a policy is chosen.

    Attributes:
        goal: what is asked of it.
        criterion: a name in `CRITERIA`; None: the config's.
        shared: one threshold for all early exits, in place of one for each.
        temperatures: divide each exit's logits by a temperature fitted on the same images; not for a largest loss.
        choose_on: `calibration`, or `val` as in the report: then the numbers are those of images that were chosen on.
        precision: what the network runs in.
    """

    goal: Goal
    criterion: str | None = None
    shared: bool = False
    temperatures: bool = True
    choose_on: Literal["calibration", "val"] = "calibration"
    precision: Precision = "float32"


def tune(
    weights: Path, data: Path | None, options: TuneOptions, out: Path | None, say: Callable[[str], None]
) -> Report:
    """Chooses a policy and writes it beside the weights, with a table and a picture of what it does.

    Args:
        weights: the checkpoint.
        data: a prepared data set; None: the one trained on.
        options: how to choose.
        out: the policy's file; None: policy.json in the checkpoint's folder.
        say: told what happens.

    Raises:
        GreenedgeError: the checkpoint, the data or the options cannot be used, or no thresholds reach the goal.
    """
    path, folder = (weights.parent / POLICY, None) if out is None else (out, out.parent)
    known = load_or_compute_outputs(weights, data, options.choose_on, folder, say, options.precision)
    if known.outputs.num_exits == 1:
        raise UsageError(f"{weights}: the network has no early exit, so there is nothing to tune")
    shown = known
    if options.choose_on != "val" and not has_split(known.model, data, "val"):
        say("note: there are no validation images, so the numbers are those of the images that were chosen on")
    elif options.choose_on != "val":
        shown = load_or_compute_outputs(weights, data, "val", folder, say, options.precision)
    if shown.model.digest != known.model.digest:
        raise CheckpointError(f"{weights}: was replaced by other weights meanwhile; tune again")
    _note_few_images(known, options, say)
    criterion = options.criterion or known.model.config.sweep.criterion
    rule = find_criterion(criterion)
    # Temperatures fitted on the images that certify a loss would void the certificate.
    fitted = options.temperatures and options.goal.max_loss is None
    temperatures = fit_temperatures(known.outputs) if fitted else None
    scores, shown_scores = (score_outputs(each.outputs, rule, temperatures) for each in (known, shown))
    chosen = "shared" if options.shared else "per-exit"
    candidates = {}
    for kind, find_front in _KINDS.items():
        front = find_front(scores)
        try:
            thresholds = _choose(scores, front, options.goal, shared=kind == "shared")
        except UsageError as error:
            if kind == chosen:
                raise
            say(f"{kind} thresholds, for comparison: {error}")
            continue
        candidates[kind] = _Candidate(
            front=front,
            policy=ExitPolicy(criterion, thresholds, temperatures, known.precision),
            chosen_on=scores.operating_point(thresholds),
            val=shown_scores.operating_point(thresholds),
        )
    result = {
        "goal": dataclasses.asdict(options.goal),
        "chosen": chosen,
        "choose_on": options.choose_on,
        "precision": known.precision,
        "policies": {kind: _as_json(candidate) for kind, candidate in candidates.items()},
        "per_exit_less_shared": _difference(shown_scores, candidates) if len(candidates) == len(_KINDS) else None,
    }
    exits, digest = known.model.exits, known.model.digest
    how = {
        "goal": str(options.goal),
        "kind": chosen,
        "choose_on": options.choose_on,
        "images": len(known.split),
        "precision": known.precision,
        "accuracy": candidates[chosen].chosen_on.accuracy,
        "gflops": candidates[chosen].chosen_on.gflops,
    }
    if path.exists():
        say(f"note: {path} is replaced")
    write_json(path.with_name(f"{path.stem}-tuning.json"), result)
    picture = path.with_name(f"{path.stem}-tuning.png")
    _draw((known, shown), shown_scores, candidates, picture)
    write_policy(path, SavedPolicy(candidates[chosen].policy, exits, digest, how))  # last: it stands for all of it
    lines = [*_lines((known, shown), options, candidates, result), f"policy ({chosen}): {path}; picture: {picture}"]
    return Report("\n".join(lines), {"policy": str(path), **result})


def _note_few_images(known: EvaluatedRun, options: TuneOptions, say: Callable[[str], None]) -> None:
    """Says how far off accuracies of few images can be."""
    images, accuracy = len(known.split), float(known.outputs.exit_accuracies()[-1])
    if images >= _FEW_IMAGES or options.goal.max_loss is not None:
        return
    found = accuracy_interval(accuracy, images, np.full(1, accuracy))
    say(
        f"note: {images} {known.split.name} images are few to choose on: of the final exit's accuracy they say no more "
        f"than that it lies between {100 * found.low:.0f} and {100 * found.high:.0f} %; set more aside "
        "(data.calibration_fraction) where there are more"
    )


def _choose(scores: ExitScores, front: Frontier, goal: Goal, *, shared: bool) -> tuple[float, ...]:
    if goal.max_loss is not None:
        return risk_controlled(scores, goal.max_loss, goal.confidence, shared=shared)
    if goal.budget_gflops is not None:
        place = most_accurate_within(front, goal.budget_gflops)
    else:
        place = cheapest_above(front, goal.min_accuracy or 0.0)
    thresholds = front.thresholds[place].tolist()
    return tuple(thresholds) if shared else midpoint_thresholds(scores, thresholds)


def _difference(scores: ExitScores, candidates: Mapping[str, _Candidate]) -> dict[str, Any]:
    """Per-exit less shared on the images shown, with 95 % intervals over the same resamples."""
    first, second = candidates["per-exit"], candidates["shared"]
    thresholds = [first.policy.thresholds, second.policy.thresholds]
    resampled = bootstrap_points(scores, thresholds, bootstrap_weights(scores.correct.shape[1]))
    images = scores.correct.shape[1]
    accuracy = difference_interval(resampled.accuracy[:, 0] - resampled.accuracy[:, 1], images)
    gflops = interval(resampled.gflops[:, 0] - resampled.gflops[:, 1])
    return {
        "accuracy": first.val.accuracy - second.val.accuracy,
        "accuracy_interval": [accuracy.low, accuracy.high],
        "gflops": first.val.gflops - second.val.gflops,
        "gflops_interval": [gflops.low, gflops.high],
    }


def _as_json(candidate: _Candidate) -> dict[str, Any]:
    points = {"chosen_on": candidate.chosen_on, "val": candidate.val}
    return {
        **dataclasses.asdict(candidate.policy),
        **{
            name: {"accuracy": point.accuracy, "gflops": point.gflops, "exit_shares": list(point.exit_shares)}
            for name, point in points.items()
        },
    }


def _draw(
    where: tuple[EvaluatedRun, EvaluatedRun], scores: ExitScores, candidates: Mapping[str, _Candidate], path: Path
) -> None:
    """The fronts on the images they were chosen on, and what the same thresholds do on the validation images.

    Args:
        where: the network on the images chosen on, and on the validation images.
        scores: on the validation images.
        candidates: by kind.
        path: the PNG to write.
    """
    known, shown = where
    curves, marks = {}, []
    for kind, each in candidates.items():
        name = f"{kind}, {known.split.name}"
        curves[name] = (each.front.gflops, each.front.accuracy)
        marks.append(ChosenPoint(name, each.chosen_on.gflops, each.chosen_on.accuracy))
        if shown is known:
            continue
        name = f"{kind}, {shown.split.name}"
        rows = np.unique(np.linspace(0, len(each.front) - 1, _POINTS_DRAWN).round().astype(np.int64))
        points = [scores.operating_point(row) for row in each.front.thresholds[rows].tolist()]
        curves[name] = (np.array([p.gflops for p in points]), np.array([p.accuracy for p in points]))
        marks.append(ChosenPoint(name, each.val.gflops, each.val.accuracy))
    draw_frontiers(curves, marks, shown.heading.partition(";")[0], path)


def _lines(
    where: tuple[EvaluatedRun, EvaluatedRun],
    options: TuneOptions,
    candidates: Mapping[str, _Candidate],
    result: dict[str, Any],
) -> list[str]:
    known, on, shown = where[0], options.choose_on, where[1].split.name
    rows = []
    for kind, each in candidates.items():
        points = {on: each.chosen_on, shown: each.val}  # one column where both are the same images
        numbers = [text for p in points.values() for text in (f"{100 * p.accuracy:.2f}", f"{p.gflops:.4f}")]
        rows.append([kind, *numbers, *(f"{100 * share:.1f}" for share in each.val.exit_shares)])
    units = [f"{split} {unit}" for split in dict.fromkeys((on, shown)) for unit in ("(%)", "GFLOPs")]
    shares = [f"{label.partition(',')[0]} (%)" for label in known.exit_labels]
    lines = [
        f"{known.heading}, chosen on",
        f"goal: {options.goal}",
        format_table(["thresholds", *units, *shares], rows),
        *(f"{kind}: {each.policy}" for kind, each in candidates.items()),
    ]
    gain = result["per_exit_less_shared"]
    if gain is not None:
        low, high = (100 * end for end in gain["accuracy_interval"])
        lines.append(
            f"per-exit less shared on {shown}: {100 * gain['accuracy']:+.2f} points (95 % interval {low:+.2f} to "
            f"{high:+.2f}{', within noise' if low <= 0 <= high else ''}) at {gain['gflops']:+.4f} GFLOPs"
        )
    if on == "val":
        lines.append("the thresholds were chosen on the validation images themselves, so their numbers flatter")
    return lines
