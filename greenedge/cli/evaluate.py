"""`greenedge eval` and `greenedge sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import (
    Criterion,
    Data,
    Json,
    LabelsMap,
    Policy,
    PolicyPrecision,
    Precision,
    ResultsFolder,
    Split,
    Threshold,
    Weights,
    parse_thresholds,
    policy_options,
)
from greenedge.cli.output import show_result


def evaluate(
    weights: Weights,
    data: Data = None,
    split: Split = "val",
    threshold: Threshold = None,
    criterion: Criterion = None,
    policy: Policy = None,
    labels_map: LabelsMap = None,
    precision: PolicyPrecision = None,
    out: ResultsFolder = None,
    as_json: Json = False,
) -> None:
    """Accuracy and cost per exit.

    And of the network under one policy, with 95 % intervals. Writes eval-SPLIT.json and .csv, and predictions-SPLIT.csv
    with one line per image.
    """
    from greenedge.training.trained import load_model
    from greenedge.workflows.evaluate import evaluate as run_evaluation
    from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs
    from greenedge.workflows.policies import note_policy_beside, requested_precision

    options = policy_options(policy, threshold, criterion)
    note_policy_beside(weights, options)
    images = PassOptions(data, split, requested_precision(options, precision))
    run = load_or_compute_outputs(load_model(weights), images, out)
    result = run_evaluation(run, options, labels_map)
    show_result(result, as_json=as_json)


def sweep(
    weights: Weights,
    data: Data = None,
    split: Split = "val",
    thresholds: Annotated[
        str | None, typer.Option(help="Numbers such as 0,0.63,1.26, or all. Default: the config's.")
    ] = None,
    criterion: Criterion = None,
    policy: Annotated[
        Path | None, typer.Option(help="A policy of `greenedge tune`: all but its thresholds is kept.")
    ] = None,
    reference_gflops: Annotated[
        float | None,
        typer.Option(help="Where the dominated area ends. Default: the cost of running everything."),
    ] = None,
    precision: Precision = "float32",
    out: ResultsFolder = None,
    as_json: Json = False,
) -> None:
    """Accuracy/cost curve over thresholds.

    One threshold for all exits, beside what fixed exits give at the same cost. Writes sweep.json, .csv and .png.
    """
    from greenedge.exits.sweep_result import Thresholds
    from greenedge.training.trained import load_model
    from greenedge.workflows.evaluate import sweep as run_sweep
    from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs

    chosen: Thresholds | None = None
    if thresholds is not None:
        chosen = "all" if thresholds.strip() == "all" else parse_thresholds(thresholds)
    run = load_or_compute_outputs(load_model(weights), PassOptions(data, split, precision), out)
    result = run_sweep(run, criterion, chosen, reference_gflops, policy)
    show_result(result, as_json=as_json)
