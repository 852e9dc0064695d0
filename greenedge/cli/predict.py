"""`greenedge predict`."""

from __future__ import annotations

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


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    weights: WeightsOrExport,
    threshold: Threshold = None,
    criterion: Criterion = None,
    policy: Policy = None,
    labels_map: LabelsMap = None,
    precision: PolicyPrecision = None,
    runtime: Runtime = None,
    as_json: Json = False,
) -> None:
    """Classify image files, exiting early."""
    from greenedge.workflows.predict import PredictOptions
    from greenedge.workflows.predict import predict as run_prediction

    options = PredictOptions(policy_options(policy, threshold, criterion), labels_map, precision, runtime)
    result = run_prediction(weights, images, options)
    show_result(result, as_json=as_json)
