"""What the page's script looks up: operating points as the tables print them, and the policy that a point means."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from greenedge.exits.policy import FORMAT
from greenedge.exits.slider_points import ImageDecisions
from greenedge.exits.sweep import OperatingPoint
from greenedge.reporting.blocks import Table
from greenedge.reporting.names import short_name
from greenedge.reporting.page.charts import DrawnChart
from greenedge.reporting.page.content import ReportedRun
from greenedge.reporting.page.thumbnails import LETTERS

_STATIC_ROWS = 11


def slider_json(run: ReportedRun, chart: DrawnChart) -> dict[str, Any]:
    """All that the sliders of a run show, rounded as the tables are; thresholds are exact.

    Args:
        run: the results.
        chart: on which the marker is.
    """
    slider, found = run.slider, run.sweep
    shared = list(slider.shared.points())
    grid = slider.grid
    return {
        "x": dataclasses.asdict(chart.x),
        "y": dataclasses.asdict(chart.y),
        "digits": [each[1] for each in columns(run)],
        "shared": {
            "thresholds": [each.thresholds[0] for each in shared],
            "points": [_numbers(run, each) for each in shared],
            "start": _start(run, shared),
        },
        "grid": None
        if grid is None
        else {
            "thresholds": grid.thresholds,
            "points": [_numbers(run, each) for each in grid.points],
            "start": grid.start or [0] * len(grid.thresholds),
        },
        "begin": "shared" if grid is None or grid.start is None else "grid",
        "never": found.criterion.never_exit_threshold,
        "unit": found.criterion.unit,
        "policy": _policy(run),
        "exits": list(run.summary.exit_names),
        "images": {str(image): _decisions(run, each) for image, each in slider.decisions.items()},
    }


def columns(run: ReportedRun) -> list[tuple[str, int]]:
    """What is shown of an operating point: headers, and digits after the point."""
    shown = [("accuracy (%)", 2), ("GFLOPs per image", 4)]
    shown += [(f"{name} rate (%)", 1) for name in run.summary.exit_names]
    if run.slider.milliseconds_per_gflop is not None:
        shown.append(("expected ms per image", 2))
    if run.slider.joules_per_gflop is not None:
        shown.append(("expected J per 1,000 images", 1))
    return shown


def static_table(run: ReportedRun) -> Table:
    """Some operating points, evenly spaced in cost, for readers without the script."""
    points = run.slider.shared
    some = list(points.rows(points.spread(_STATIC_ROWS)).points())
    shown = columns(run)
    rows = [
        [
            threshold_text(run, each.thresholds[0]),
            *(f"{value:.{digits}f}" for value, (_, digits) in zip(_numbers(run, each), shown, strict=True)),
        ]
        for each in some
    ]
    return Table([f"threshold ({run.sweep.criterion.unit})", *(header for header, _ in shown)], rows)


def threshold_text(run: ReportedRun, threshold: float) -> str:
    """A threshold as the tables show it."""
    return "never" if threshold == run.sweep.criterion.never_exit_threshold else f"{threshold:.4g}"


def _numbers(run: ReportedRun, point: OperatingPoint) -> list[float]:
    slider = run.slider
    numbers = [100 * point.accuracy, point.gflops, *(100 * each for each in point.exit_shares)]
    if slider.milliseconds_per_gflop is not None:
        numbers.append(slider.milliseconds_per_gflop * point.gflops)
    if slider.joules_per_gflop is not None:
        numbers.append(1000 * slider.joules_per_gflop * point.gflops)
    return [round(value, digits) for value, (_, digits) in zip(numbers, columns(run), strict=True)]


def _start(run: ReportedRun, shared: Sequence[OperatingPoint]) -> int:
    """The point nearest in cost to the chosen policy, or to where early exit gives most."""
    cost = run.sweep.advantage.largest.gflops if run.policy is None else run.evaluation.gflops
    return min(range(len(shared)), key=lambda place: abs(shared[place].gflops - cost))


def _decisions(run: ReportedRun, each: ImageDecisions) -> dict[str, Any]:
    """What an image is taken for at each exit, in words, and from which places on it exits there."""
    names = [short_name(run.facts.classes[prediction], LETTERS) for prediction in each.predictions]
    right = [prediction == each.label for prediction in each.predictions]
    return {
        "shared": each.shared,
        "grid": each.grid,
        "says": [f"{name} ({'right' if ok else 'wrong'})" for name, ok in zip(names, right, strict=True)],
        "differs": [prediction != each.predictions[-1] for prediction in each.predictions],
    }


def _policy(run: ReportedRun) -> dict[str, Any]:
    """A policy's file but for the thresholds, which the sliders choose."""
    rule = {**dataclasses.asdict(run.sweep.rule), "precision": run.summary.precision}
    exits = [each.after for each in run.summary.cost.exits]
    chosen = {"goal": "chosen by hand in a report", "choose_on": run.summary.split, "images": run.summary.images}
    return {"format": FORMAT, **rule, "exits": exits, "weights": run.facts.digest, "chosen": chosen}
