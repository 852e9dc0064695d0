"""`greenedge tune`: thresholds chosen on the calibration images, and what they do on the validation images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from greenedge.errors import UsageError
from greenedge.exits.bootstrap import Interval, interval, resample_points, resample_shares
from greenedge.exits.calibration import fit_temperatures
from greenedge.exits.confidence import find_criterion
from greenedge.exits.frontier import Frontier, pareto_frontier, shared_frontier
from greenedge.exits.policy import ExitPolicy, SavedPolicy, write_policy
from greenedge.exits.sweep import ExitScores, OperatingPoint, score_outputs
from greenedge.exits.tuning import best_within, cheapest_reaching, risk_controlled
from greenedge.files import write_json
from greenedge.reporting.frontier_plot import ChosenPoint, draw_frontiers
from greenedge.reporting.tables import format_table
from greenedge.workflows.outputs import Evaluated, run_once
from greenedge.workflows.policies import describe_policy, network_identity
from greenedge.workflows.report import Report

POLICY = "policy.json"
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
class TuneOptions:
    """How a policy is chosen.

    Attributes:
        goal: what is asked of it.
        criterion: a name in `CRITERIA`; None: the recipe's.
        shared: one threshold for all early exits, in place of one for each.
        temperatures: divide each exit's logits by a temperature fitted on the same images.
        choose_on: `calibration`, or `val` as in the report: then the numbers are those of images that were chosen on.
    """

    goal: Goal
    criterion: str | None = None
    shared: bool = False
    temperatures: bool = True
    choose_on: Literal["calibration", "val"] = "calibration"


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
    path = out or weights.parent / POLICY
    known = run_once(weights, data, options.choose_on, path.parent, say)
    if known.outputs.num_exits == 1:
        raise UsageError(f"{weights}: the network has no early exit, so there is nothing to tune")
    shown = known if options.choose_on == "val" else run_once(weights, data, "val", path.parent, say)
    criterion = options.criterion or known.model.config.sweep.criterion
    temperatures = fit_temperatures(known.outputs) if options.temperatures else None
    scores, shown_scores = (
        score_outputs(each.outputs, find_criterion(criterion), temperatures) for each in (known, shown)
    )
    fronts = {kind: front(scores) for kind, front in _KINDS.items()}
    policies = {
        kind: ExitPolicy(criterion, _choose(scores, fronts[kind], options.goal, shared=kind == "shared"), temperatures)
        for kind in _KINDS
    }
    chosen = "shared" if options.shared else "per-exit"
    points = {
        kind: (scores.operating_point(policy.thresholds), shown_scores.operating_point(policy.thresholds))
        for kind, policy in policies.items()
    }
    gain, cost = _difference(shown_scores, policies)
    result: dict[str, Any] = {
        "goal": dataclasses.asdict(options.goal),
        "chosen": chosen,
        "choose_on": options.choose_on,
        "policies": {
            kind: {
                **dataclasses.asdict(policies[kind]),
                **{
                    name: {"accuracy": point.accuracy, "gflops": point.gflops, "exit_shares": list(point.exit_shares)}
                    for name, point in zip(("chosen_on", "val"), points[kind], strict=True)
                },
            }
            for kind in _KINDS
        },
        "per_exit_less_shared": {
            "accuracy": points["per-exit"][1].accuracy - points["shared"][1].accuracy,
            "accuracy_interval": [gain.low, gain.high],
            "gflops": points["per-exit"][1].gflops - points["shared"][1].gflops,
            "gflops_interval": [cost.low, cost.high],
        },
    }
    exits, digest = network_identity(known.model, weights)
    how = {"goal": str(options.goal), "kind": chosen, "choose_on": options.choose_on, "images": len(known.split)}
    saved = SavedPolicy(
        policies[chosen],
        exits,
        digest,
        {**how, "accuracy": points[chosen][0].accuracy, "gflops": points[chosen][0].gflops},
    )
    write_policy(path, saved)
    write_json(path.with_name(f"{path.stem}-tuning.json"), result)
    _draw(known, shown, shown_scores, fronts, points, path.with_name(f"{path.stem}-tuning.png"))
    return Report(_text(known, path, options, policies, points, gain, result), {"policy": str(path), **result})


def _choose(scores: ExitScores, front: Frontier, goal: Goal, *, shared: bool) -> tuple[float, ...]:
    if goal.max_loss is not None:
        return risk_controlled(scores, goal.max_loss, goal.confidence, shared=shared)
    if goal.budget_gflops is not None:
        place = best_within(front, goal.budget_gflops)
    else:
        place = cheapest_reaching(front, goal.min_accuracy or 0.0)
    return tuple(front.thresholds[place].tolist())


def _difference(scores: ExitScores, policies: dict[str, ExitPolicy]) -> tuple[Interval, Interval]:
    """95 % intervals of per-exit less shared, on the same resamples: accuracy and cost."""
    thresholds = [policies[kind].thresholds for kind in ("per-exit", "shared")]
    resampled = resample_points(scores, thresholds, resample_shares(scores.correct.shape[1]))
    return (
        interval(resampled.accuracy[:, 0] - resampled.accuracy[:, 1]),
        interval(resampled.gflops[:, 0] - resampled.gflops[:, 1]),
    )


def _draw(
    known: Evaluated,
    shown: Evaluated,
    shown_scores: ExitScores,
    fronts: dict[str, Frontier],
    points: dict[str, tuple[OperatingPoint, OperatingPoint]],
    path: Path,
) -> None:
    """The fronts on the images they were chosen on, and what the same thresholds do on the validation images."""
    curves = {}
    for kind, front in fronts.items():
        curves[f"{kind}, {known.split.name}"] = (front.gflops, front.accuracy)
        if shown is not known:
            rows = np.unique(np.linspace(0, len(front) - 1, 200).round().astype(np.int64))
            there = [shown_scores.operating_point(row) for row in front.thresholds[rows].tolist()]
            curves[f"{kind}, {shown.split.name}"] = (
                np.array([point.gflops for point in there]),
                np.array([point.accuracy for point in there]),
            )
    marks = [
        ChosenPoint(f"{kind}, {where.split.name}", point.gflops, point.accuracy)
        for kind in points
        for where, point in zip((known, shown), points[kind], strict=True)
        if where is known or shown is not known
    ]
    draw_frontiers(curves, marks, shown.heading.partition(";")[0], path)


def _text(
    known: Evaluated,
    path: Path,
    options: TuneOptions,
    policies: dict[str, ExitPolicy],
    points: dict[str, tuple[OperatingPoint, OperatingPoint]],
    gain: Interval,
    result: dict[str, Any],
) -> str:
    rows = []
    for kind, (there, val) in points.items():
        row = [
            kind,
            f"{100 * there.accuracy:.2f}",
            f"{there.gflops:.4f}",
            f"{100 * val.accuracy:.2f}",
            f"{val.gflops:.4f}",
        ]
        rows.append([*row, *(f"{100 * share:.1f}" for share in val.exit_shares)])
    on = options.choose_on
    shares = [f"{label.partition(',')[0]} (%)" for label in known.exit_labels]
    headers = ["thresholds", f"{on} (%)", f"{on} GFLOPs", "val (%)", "val GFLOPs", *shares]
    lines = [
        f"{known.heading}, chosen on",
        f"goal: {options.goal}",
        format_table(headers, rows),
        *(f"{kind}: {describe_policy(policy)}" for kind, policy in policies.items()),
        f"per-exit less shared on val: {100 * result['per_exit_less_shared']['accuracy']:+.2f} points (95 % interval "
        f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}) at {result['per_exit_less_shared']['gflops']:+.4f} GFLOPs",
    ]
    if on == "val":
        lines.append("the thresholds were chosen on the validation images themselves, so their numbers flatter")
    lines.append(f"policy ({result['chosen']}): {path}; picture: {path.with_name(f'{path.stem}-tuning.png')}")
    return "\n".join(lines)
