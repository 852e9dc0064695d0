"""`greenedge eval` and `greenedge sweep`."""

from __future__ import annotations

from typing import Annotated

import typer

from greenedge.cli.options import (
    Criterion,
    Data,
    Json,
    LabelsMap,
    Page,
    Policy,
    PolicyPrecision,
    ResultsFolder,
    Runtime,
    Split,
    Static,
    Threshold,
    WeightsOrExport,
    parse_thresholds,
    policy_options,
)
from greenedge.cli.output import show_result
from greenedge.cli.report import also_report, check_page
from greenedge.errors import UsageError


def evaluate(
    weights: WeightsOrExport,
    data: Data = None,
    split: Split = "val",
    threshold: Threshold = None,
    criterion: Criterion = None,
    policy: Policy = None,
    labels_map: LabelsMap = None,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Write each class's accuracy and confusion matrices too.")
    ] = False,
    precision: PolicyPrecision = None,
    runtime: Runtime = None,
    out: ResultsFolder = None,
    as_json: Json = False,
) -> None:
    """Accuracy and cost per exit.

    And of the network under one policy, with 95 % intervals. Writes eval-SPLIT.json and .csv, and predictions-SPLIT.csv
    with one line per image. With --confusion also per-class-SPLIT.csv, confusion-SPLIT.npz and .png.
    """
    from greenedge.workflows.evaluate import evaluate as run_evaluation
    from greenedge.workflows.models import open_model
    from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs
    from greenedge.workflows.policies import note_policy_beside, requested_precision

    options = policy_options(policy, threshold, criterion)
    model = open_model(weights, runtime)
    note_policy_beside(model, options)
    images = PassOptions(data, split, requested_precision(model, options, precision))
    run = load_or_compute_outputs(model, images, out)
    result = run_evaluation(run, options, labels_map, confusion=confusion)
    show_result(result, as_json=as_json)


def sweep(
    weights: WeightsOrExport,
    data: Data = None,
    split: Split = "val",
    thresholds: Annotated[
        str | None, typer.Option(help="Numbers such as 0,0.63,1.26, or all. Default: the config's.")
    ] = None,
    criterion: Criterion = None,
    policy: Policy = None,
    static: Static = None,
    reference_gflops: Annotated[
        float | None,
        typer.Option(help="Where the dominated area ends. Default: the cost of running everything."),
    ] = None,
    precision: PolicyPrecision = None,
    runtime: Runtime = None,
    out: ResultsFolder = None,
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Accuracy/cost curve over thresholds.

    One threshold for all exits, beside what fixed exits, and other networks without early exit, give at the same cost.
    Writes sweep.json, .csv and .png.
    """
    from greenedge.exits.sweep_result import Thresholds
    from greenedge.workflows.evaluate import SweepOptions
    from greenedge.workflows.evaluate import sweep as run_sweep
    from greenedge.workflows.models import open_model
    from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs
    from greenedge.workflows.policies import PolicyOptions, requested_precision

    chosen: Thresholds | None = None
    if thresholds is not None:
        chosen = "all" if thresholds.strip() == "all" else parse_thresholds(thresholds)
    check_page(page)
    model = open_model(weights, runtime)
    if page is not None and model.own_precision is not None:
        raise UsageError("--report is for a checkpoint; an export has no page")
    images = PassOptions(data, split, requested_precision(model, PolicyOptions(policy), precision))
    run = load_or_compute_outputs(model, images, out)
    options = SweepOptions(criterion, policy, chosen, reference_gflops, tuple(static or ()))
    result = run_sweep(run, options, images)
    show_result(result, as_json=as_json)
    also_report(page, [weights], data, split)
