"""`greenedge predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import (
    Criterion,
    Json,
    LabelsMap,
    Policy,
    PolicyPrecision,
    Runtime,
    Threshold,
    WeightsOrExport,
    policy_options,
)
from greenedge.cli.output import show_result

_MOST_SHOWN = 1000  # lines of the table


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help='Image files, folders, quoted patterns such as "photos/**/*.jpg", or - for a list on standard input.',
        ),
    ],
    weights: WeightsOrExport,
    threshold: Threshold = None,
    criterion: Criterion = None,
    policy: Policy = None,
    labels_map: LabelsMap = None,
    precision: PolicyPrecision = None,
    runtime: Runtime = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 64,
    out: Annotated[
        Path | None, typer.Option("--out", help="A .csv or .jsonl file for all predictions, in place of the table.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Classify image files, exiting early.

    Folders are read recursively. A file that cannot be used is named on standard error and passed over; the exit code
    is then 1. With --out the predictions are written as they come, in memory that does not grow with their number.
    """
    from greenedge.workflows.predict import PredictOptions
    from greenedge.workflows.predict import predict as run_prediction

    kept = None if as_json else _MOST_SHOWN
    policies = policy_options(policy, threshold, criterion)
    options = PredictOptions(policies, labels_map, precision, runtime, batch_size, out, kept)
    result = run_prediction(weights, images, options, sys.stdin.buffer)
    show_result(result, as_json=as_json)
