"""`greenedge predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Criterion, Json, LabelsMap, Policy, Threshold, Weights, policy_options
from greenedge.cli.output import show, show_json


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    weights: Weights,
    threshold: Threshold = None,
    criterion: Criterion = None,
    policy: Policy = None,
    labels_map: LabelsMap = None,
    as_json: Json = False,
) -> None:
    """Classify image files, and say at which exit each was sure."""
    from greenedge.workflows.predict import predict as run_prediction

    report = run_prediction(weights, images, policy_options(policy, threshold, criterion), labels_map)
    show_json(report.json) if as_json else show(report.text)
