"""`greenedge sweep`: operating points of one threshold for all exits, beside what fixed exits give."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from greenedge.errors import UsageError
from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.baselines import FixedExits, FoundAdvantage, find_advantage, oracle_point
from greenedge.exits.bootstrap import Interval, bootstrap_points, bootstrap_weights, interval
from greenedge.exits.confidence import Criterion, check_thresholds, describe_effect, find_criterion
from greenedge.exits.sweep import ExitScores, Sweep, score_outputs, sweep_all, sweep_thresholds
from greenedge.files import write_json
from greenedge.reporting.names import exit_name
from greenedge.reporting.sweep_plot import ReferenceMarks, draw_sweep
from greenedge.reporting.tables import format_table, write_csv
from greenedge.workflows.outputs import EvaluatedRun
from greenedge.workflows.report import Report
from greenedge.workflows.trained import model_summary

Thresholds = Sequence[float] | Literal["all"]
_ROWS_SHOWN = 13
_POINTS_RESAMPLED = 200


def sweep(
    evaluated: EvaluatedRun, criterion: str | None, thresholds: Thresholds | None, reference_gflops: float | None
) -> Report:
    """Operating points of a shared threshold, their areas with 95 % intervals, and the picture of the curve.

    Args:
        evaluated: a network's answers.
        criterion: a name in `CRITERIA`; None: the config's.
        thresholds: in the criterion's unit, or `all`; None: the config's where they are of this criterion, else `all`.
        reference_gflops: up to which the dominated area counts; None: the cost of running everything.

    Raises:
        UsageError: the reference cost is not positive, or a threshold is beyond what the criterion can say.
    """
    section = evaluated.model.config.sweep
    criterion = criterion or section.criterion
    if thresholds is None:  # numbers of the config are in the unit of its own criterion
        thresholds = section.thresholds if criterion == section.criterion else "all"
    if thresholds != "all":
        check_thresholds(criterion, thresholds, evaluated.outputs.logits.shape[2], evaluated.outputs.num_exits)
    reference = float(evaluated.outputs.gflops[-1]) if reference_gflops is None else reference_gflops
    if not 0 < reference < float("inf"):
        raise UsageError(f"the reference cost must be a number above 0 GFLOPs, found {reference:g}")
    scores = score_outputs(evaluated.outputs, find_criterion(criterion))
    curve = sweep_all(scores)
    chosen = None if thresholds == "all" else sweep_thresholds(scores, thresholds)
    result = curve if chosen is None else chosen
    shares = bootstrap_weights(len(evaluated.split))
    area, dominated = _areas(scores, result, reference, shares)
    advantage = _advantage(scores, curve, evaluated.standalone_gflops, shares)
    oracle = oracle_point(evaluated.outputs)
    report = {
        "criterion": criterion,
        "split": evaluated.split.name,
        "precision": evaluated.precision,
        "points": [dataclasses.asdict(point) for point in result.points()],
        "area": trapezoid_area(result.gflops, result.accuracy),
        "area_interval": [area.low, area.high],
        "dominated_area": dominated_area(result.gflops, result.accuracy, reference),
        "dominated_area_interval": [dominated.low, dominated.high],
        "reference_gflops": reference,
        "plain_gflops": evaluated.cost.plain_gflops,
        "exits": evaluated.each_exit(),
        "oracle": {"accuracy": oracle.accuracy, "gflops": oracle.gflops},
        "advantage": dataclasses.asdict(advantage.largest),
        "advantage_interval": None if advantage.interval is None else [advantage.interval.low, advantage.interval.high],
        "pays": advantage.pays,
    }
    folder, name = evaluated.folder, f"sweep{evaluated.suffix}"
    write_json(folder / f"{name}.json", report)
    write_csv(
        folder / f"{name}.csv",
        ["threshold", "accuracy", "gflops", *(f"share_{index + 1}" for index in range(evaluated.outputs.num_exits))],
        np.column_stack([result.thresholds, result.accuracy, result.gflops, result.exit_shares]).tolist(),
    )
    marks = ReferenceMarks(
        gflops=tuple(evaluated.standalone_gflops.tolist()),
        accuracy=tuple(evaluated.outputs.exit_accuracies().tolist()),
        plain_gflops=evaluated.cost.plain_gflops,
        oracle=(oracle.gflops, oracle.accuracy),
    )
    title = f"{model_summary(evaluated.model.config.model)}\n{evaluated.split.name}, {len(evaluated.split)} images"
    draw_sweep(curve, chosen, marks, title, folder / f"{name}.png")
    verdict = early_exit_verdict(curve, evaluated, advantage)
    return Report(_sweep_text(evaluated, scores.criterion, result, report, verdict), report)


def early_exit_verdict(curve: Sweep, evaluated: EvaluatedRun, advantage: FoundAdvantage) -> str:
    """A sentence: what early exit surely buys over fixed exits, that it buys nothing, or that it cannot be told."""
    if advantage.interval is None:
        return "there is no early exit, so there is nothing to choose"
    most, where = 100 * advantage.largest.accuracy, f"{advantage.largest.gflops:.4f} GFLOPs"
    low, high = 100 * advantage.interval.low, 100 * advantage.interval.high
    if most <= 0:
        return (
            "early exit does not pay here: nowhere on the curve is it more accurate than fixed exits, one alone or "
            "several by lot, at the same cost"
        )
    if not advantage.pays:
        return (
            f"early exit does not pay as far as these images tell: over fixed exits, alone or by lot, at the same cost "
            f"it gives at most {most:.2f} points, at {where}, which is within noise (95 % interval {low:.2f} to "
            f"{high:.2f})"
        )
    words = (
        f"early exit pays: at least {low:.2f} points (95 % bound) over fixed exits, alone or by lot, at the same cost; "
        f"measured {most:.2f}, at {where}"
    )
    plain = evaluated.cost.plain_gflops
    as_good = curve.gflops[curve.accuracy >= evaluated.outputs.exit_accuracies()[-1]]
    if len(as_good) and as_good.min() < plain:
        share = f"{100 * as_good.min() / plain:.0f} % of its cost"
        return f"{words}; the plain network's accuracy was reached on these images for {share}"
    return f"{words}; the plain network's accuracy is not reached below its cost"


def _advantage(scores: ExitScores, curve: Sweep, standalone_gflops: np.ndarray, shares: np.ndarray) -> FoundAdvantage:
    some = curve.rows(curve.spread(_POINTS_RESAMPLED))
    right = shares @ scores.correct.T.astype(np.float32)
    fixed = FixedExits(standalone_gflops, scores.correct.mean(axis=1), right)
    return find_advantage(curve, some, bootstrap_points(scores, _shared(scores, some), shares), fixed)


def _shared(scores: ExitScores, curve: Sweep) -> list[tuple[float, ...]]:
    return [(threshold,) * (scores.num_exits - 1) for threshold in curve.thresholds.tolist()]


def _areas(scores: ExitScores, result: Sweep, reference: float, shares: np.ndarray) -> tuple[Interval, Interval]:
    """95 % intervals of both areas.

    Where there are many points some of them are resampled; a curve of fewer points has a slightly smaller area, so only
    the spread is taken from it.
    """
    chosen = np.arange(len(result))
    if len(result) > _POINTS_RESAMPLED:
        targets = np.linspace(0, len(result) - 1, _POINTS_RESAMPLED)
        chosen = np.unique(targets.round().astype(np.int64))
    resampled = bootstrap_points(scores, _shared(scores, result.rows(chosen)), shares)
    trapezoid = resampled.trapezoid_areas() - trapezoid_area(result.gflops[chosen], result.accuracy[chosen])
    dominated = resampled.dominated_areas(reference) - dominated_area(
        result.gflops[chosen], result.accuracy[chosen], reference
    )
    return (
        interval(trapezoid + trapezoid_area(result.gflops, result.accuracy)),
        interval(dominated + dominated_area(result.gflops, result.accuracy, reference)),
    )


def _sweep_text(
    evaluated: EvaluatedRun, criterion: Criterion, result: Sweep, report: dict[str, Any], verdict: str
) -> str:
    exits = evaluated.outputs.num_exits
    shown = np.arange(len(result))
    if len(result) > _ROWS_SHOWN:  # evenly spaced in cost
        shown = result.spread(_ROWS_SHOWN)
    rows = [
        [
            "never" if result.thresholds[i] == criterion.never_exit_threshold else f"{result.thresholds[i]:.4g}",
            f"{100 * result.accuracy[i]:.2f}",
            f"{result.gflops[i]:.4f}",
            *(f"{100 * share:.1f}" for share in result.exit_shares[i]),
        ]
        for i in shown
    ]
    shares = [f"{exit_name(index, exits)} (%)" for index in range(exits)]
    lines = [
        evaluated.heading,
        format_table([f"threshold ({criterion.unit})", "accuracy (%)", "GFLOPs", *shares], rows),
    ]
    if len(shown) < len(result):
        lines.append(f"{len(shown)} of {len(result)} operating points are shown; sweep{evaluated.suffix}.csv has all")
    effects = [
        f"at {threshold:.4g} {effect}"
        for threshold in result.thresholds[shown].tolist()
        if threshold != criterion.never_exit_threshold
        and (effect := describe_effect(report["criterion"], [threshold], evaluated.outputs.logits.shape[2], exits))
    ]
    if effects and report["points"] and len(shown) == len(result):
        lines.append("whatever the image, " + "; ".join(effects))
    low, high = report["area_interval"]
    lowest, highest = report["dominated_area_interval"]
    lines += [
        f"area under the points: {report['area']:.4f} % x GFLOPs ({low:.4f} to {high:.4f}); area dominated up to "
        f"{report['reference_gflops']:.4f} GFLOPs: {report['dominated_area']:.4f} % x GFLOPs "
        f"({lowest:.4f} to {highest:.4f}); 95 % intervals over images",
        verdict,
        f"an oracle that leaves at the first right exit: {100 * report['oracle']['accuracy']:.2f} % at "
        f"{report['oracle']['gflops']:.4f} GFLOPs",
        f"the plain network costs {evaluated.cost.plain_gflops:.4f} GFLOPs; "
        f"table and picture: {evaluated.folder / 'sweep'}{evaluated.suffix}.csv, .json and .png",
    ]
    return "\n".join(lines)
