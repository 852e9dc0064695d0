"""`greenedge tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from greenedge.cli.options import Data, Json, OwnPrecision, Page, Runtime, WeightsOrExport
from greenedge.cli.output import show_result
from greenedge.cli.report import also_report, check_page


def tune(
    weights: WeightsOrExport,
    data: Data = None,
    budget: Annotated[float | None, typer.Option(help="Mean GFLOPs per image that may be spent.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="Accuracy to reach: 0.7 is 70 %.")] = None,
    max_loss: Annotated[
        float | None, typer.Option(help="Accuracy that may be lost against running everything: 0.01 is one point.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence level of the --max-loss guarantee.")] = 0.95,
    criterion: Annotated[
        str | None,
        typer.Option(help="A criterion of `greenedge list criteria`. Default: the best one on held-out images."),
    ] = None,
    ensemble: Annotated[
        bool | None,
        typer.Option(
            "--ensemble/--no-ensemble",
            help="Join each exit's logits with those before it. Default: where held-out images say so.",
        ),
    ] = None,
    shared: Annotated[bool, typer.Option("--shared", help="One threshold for all early exits.")] = False,
    temperatures: Annotated[
        bool, typer.Option(help="Fit a temperature for each exit first; never done for --max-loss.")
    ] = True,
    choose_on: Annotated[
        Literal["calibration", "val"], typer.Option(help="Images to choose on; val is the paper's way, and flatters.")
    ] = "calibration",
    precision: OwnPrecision = None,
    runtime: Runtime = None,
    out: Annotated[
        Path | None, typer.Option(help="The policy's file. Default: policy.json beside the weights.")
    ] = None,
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Choose thresholds for a goal.

    The goal is a budget, an accuracy or a largest loss. Thresholds, and unless they are given the criterion and whether
    exits join what they say, are chosen on the calibration images, written as a policy that eval, predict, bench and
    export take, and shown on the validation images.
    """
    from greenedge.exits.goal import Goal
    from greenedge.workflows.tune import TuneOptions
    from greenedge.workflows.tune import tune as run_tuning

    check_page(page)
    goal = Goal(budget, min_accuracy, max_loss, confidence)
    options = TuneOptions(
        goal,
        criterion,
        ensemble,
        shared=shared,
        temperatures=temperatures,
        choose_on=choose_on,
        precision=precision,
        runtime=runtime,
    )
    result = run_tuning(weights, data, options, out)
    show_result(result, as_json=as_json)
    also_report(page, [weights], data)
