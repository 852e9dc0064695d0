"""`greenedge eval` and `greenedge sweep`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from greenedge.cli.options import Data, Json, Weights
from greenedge.cli.output import say, show, show_json
from greenedge.errors import UsageError

Criterion = Annotated[
    str | None,
    typer.Option(
        help="What thresholds are compared with: entropy, max_probability or margin; the recipe's by default."
    ),
]
Split = Annotated[Literal["val", "calibration", "train"], typer.Option(help="Which images.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; the checkpoint's by default.")]


def evaluate(
    weights: Weights,
    data: Data = None,
    split: Split = "val",
    threshold: Annotated[str | None, typer.Option(help="Leave early by this threshold; never by default.")] = None,
    criterion: Criterion = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Accuracy and cost of each exit, and of all together at one threshold."""
    from greenedge.workflows.evaluate import evaluate as run_evaluation
    from greenedge.workflows.evaluate import run_once

    chosen = None if threshold is None else _number(threshold)
    report = run_evaluation(run_once(weights, data, split, out, say), criterion, chosen)
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
    return [_number(item) for item in text.split(",")]


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"threshold {text.strip()!r} is not a number") from None
    if not math.isfinite(number) or number < 0:
        raise UsageError(f"threshold {text.strip()} is not a finite number of at least 0")
    return number
