"""`greenedge eval` and `greenedge sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from greenedge.cli.options import Criterion, Data, Json, LabelsMap, Weights, parse_threshold
from greenedge.cli.output import say, show, show_json
from greenedge.errors import UsageError

Split = Annotated[Literal["val", "calibration", "train"], typer.Option(help="Which images.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; the checkpoint's by default.")]


def evaluate(
    weights: Weights,
    data: Data = None,
    split: Split = "val",
    threshold: Annotated[str | None, typer.Option(help="Leave early by this threshold; never by default.")] = None,
    criterion: Criterion = None,
    labels_map: LabelsMap = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Accuracy and cost of each exit, and of all together at one threshold."""
    from greenedge.workflows.evaluate import evaluate as run_evaluation
    from greenedge.workflows.evaluate import run_once

    chosen = None if threshold is None else parse_threshold(threshold)
    report = run_evaluation(run_once(weights, data, split, out, say), criterion, chosen, labels_map)
    show_json(report.json) if as_json else show(report.text)


def sweep(
    weights: Weights,
    data: Data = None,
    split: Split = "val",
    thresholds: Annotated[
        str | None, typer.Option(help="Numbers such as 0,0.63,1.26, or all; the recipe's by default.")
    ] = None,
    criterion: Criterion = None,
    reference_gflops: Annotated[
        float | None,
        typer.Option(help="Where the dominated area ends; by default the cost of running everything."),
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Operating points of one threshold for all exits: table, JSON, CSV and picture."""
    from greenedge.workflows.evaluate import run_once
    from greenedge.workflows.evaluate import sweep as run_sweep

    chosen = None if thresholds is None else _numbers(thresholds)
    report = run_sweep(run_once(weights, data, split, out, say), criterion, chosen, reference_gflops)
    show_json(report.json) if as_json else show(report.text)


def _numbers(text: str) -> list[float] | Literal["all"]:
    if text.strip() == "all":
        return "all"
    if not text.strip():
        raise UsageError("--thresholds is empty; give numbers such as 0,0.63,1.26, or all")
    return [parse_threshold(item) for item in text.split(",")]
