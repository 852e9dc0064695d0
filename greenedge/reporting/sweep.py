"""The result of `greenedge sweep` as a table, a verdict, JSON, CSV and a figure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from greenedge.exits.confidence import describe_effect
from greenedge.exits.sweep_result import SweepResult
from greenedge.reporting.blocks import CommandResult, Table, span
from greenedge.reporting.summary import RunSummary

_ROWS_SHOWN = 13


def present_sweep(summary: RunSummary, found: SweepResult) -> CommandResult[SweepResult]:
    """Operating points, areas, the verdict against fixed exits, and the figure of the curve."""
    from greenedge.reporting.sweep_plot import plot_sweep  # matplotlib takes long to import, and eval does without

    points = found.points
    title = f"{summary.model}\n{summary.split}, {summary.images} images"
    rates = [f"share_{index + 1}" for index in range(summary.num_exits)]
    rows = np.column_stack([points.thresholds, points.accuracy, points.gflops, points.exit_shares]).tolist()
    return CommandResult(
        value=found,
        blocks=tuple(_blocks(summary, found)),
        json=_json(summary, found),
        csv=Table(["threshold", "accuracy", "gflops", *rates], rows),
        figure=plot_sweep(found, title),
    )


def early_exit_verdict(found: SweepResult) -> str:
    """A sentence: what early exit surely buys over fixed exits, that it buys nothing, or that it cannot be told."""
    advantage = found.advantage
    if advantage.interval is None:
        return "there is no early exit, so there is nothing to choose"

    most, where = 100 * advantage.largest.accuracy, f"{advantage.largest.gflops:.4f} GFLOPs"
    low, high = 100 * advantage.interval.low, 100 * advantage.interval.high
    if most <= 0:
        return (
            "early exit does not pay here: nowhere on the curve is it more accurate than fixed exits, one alone or a "
            "random mix of several, at the same cost"
        )
    if not advantage.pays:
        return (
            "early exit does not pay as far as these images tell: over fixed exits, alone or randomly mixed, at the "
            f"same cost it gives at most {most:.2f} points, at {where}, which is within noise (95 % interval {low:.2f} "
            f"to {high:.2f})"
        )

    words = (
        f"early exit pays: at least {low:.2f} points (95 % bound) over fixed exits, alone or randomly mixed, at the "
        f"same cost; measured {most:.2f}, at {where}"
    )
    share = found.cost_of_final_accuracy / found.backbone_gflops
    if share < 1:
        return f"{words}; the backbone's accuracy was reached on these images for {100 * share:.0f} % of its cost"
    return f"{words}; the backbone's accuracy is not reached below its cost"


def _json(summary: RunSummary, found: SweepResult) -> dict[str, Any]:
    advantage = found.advantage
    return {
        "criterion": found.criterion_name,
        "temperatures": found.policy.temperatures,
        "ensemble": found.policy.ensemble,
        "gain": found.policy.gain,
        "split": summary.split,
        "precision": summary.precision,
        "points": [dataclasses.asdict(point) for point in found.points.points()],
        "area": found.area.value,
        "area_interval": found.area.interval.ends,
        "dominated_area": found.dominated_area.value,
        "dominated_area_interval": found.dominated_area.interval.ends,
        "reference_gflops": found.reference_gflops,
        "plain_gflops": summary.cost.plain_gflops,
        "exits": summary.exit_records(found.exit_accuracies),
        "oracle": {"accuracy": found.oracle.accuracy, "gflops": found.oracle.gflops},
        "advantage": dataclasses.asdict(advantage.largest),
        "advantage_interval": None if advantage.interval is None else advantage.interval.ends,
        "pays": advantage.pays,
    }


def _blocks(summary: RunSummary, found: SweepResult) -> list[Table | str]:
    points, criterion = found.points, found.criterion
    shown = np.arange(len(points))
    if len(points) > _ROWS_SHOWN:  # evenly spaced in cost
        shown = points.spread(_ROWS_SHOWN)
    rows = [
        [
            "never" if points.thresholds[i] == criterion.never_exit_threshold else f"{points.thresholds[i]:.4g}",
            f"{100 * points.accuracy[i]:.2f}",
            f"{points.gflops[i]:.4f}",
            *(f"{100 * rate:.1f}" for rate in points.exit_shares[i]),
        ]
        for i in shown
    ]
    rates = [f"{name} (%)" for name in summary.exit_names]
    blocks: list[Table | str] = [
        summary.heading,
        Table([f"threshold ({criterion.unit})", "accuracy (%)", "GFLOPs", *rates], rows),
    ]
    if len(shown) < len(points):
        blocks.append(f"{len(shown)} of {len(points)} operating points are shown; the CSV file has all")
    else:
        blocks += _effects(summary, found)

    area, dominated, oracle = found.area, found.dominated_area, found.oracle
    return [
        *blocks,
        early_exit_verdict(found),
        f"the backbone without exits costs {summary.cost.plain_gflops:.4f} GFLOPs; an oracle that exits at the first "
        f"correct exit reaches {100 * oracle.accuracy:.2f} % at {oracle.gflops:.4f} GFLOPs",
        f"area under the points: {area.value:.4f} % x GFLOPs ({span(area.interval.low, area.interval.high, 4)}); area "
        f"dominated up to {found.reference_gflops:.4f} GFLOPs: {dominated.value:.4f} % x GFLOPs "
        f"({span(dominated.interval.low, dominated.interval.high, 4)}); 95 % intervals over images",
    ]


def _effects(summary: RunSummary, found: SweepResult) -> list[str]:
    """What single thresholds do whatever the image."""
    criterion = found.criterion
    effects = [
        f"at {threshold:.4g} {effect}"
        for threshold in found.points.thresholds.tolist()
        if threshold != criterion.never_exit_threshold
        and (effect := describe_effect(criterion, [threshold], found.num_classes, summary.num_exits))
    ]
    return ["whatever the image, " + "; ".join(effects)] if effects else []
