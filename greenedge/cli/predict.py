"""`greenedge predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Criterion, Json, LabelsMap, Weights, parse_threshold
from greenedge.cli.output import show, show_json


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    weights: Weights,
    threshold: Annotated[str | None, typer.Option(help="Leave early by this threshold; never by default.")] = None,
    criterion: Criterion = None,
    labels_map: LabelsMap = None,
    as_json: Json = False,
) -> None:
    """Classify image files, and say at which exit each was sure."""
    from greenedge.workflows.predict import predict as run_prediction

    chosen = None if threshold is None else parse_threshold(threshold)
    report = run_prediction(weights, images, chosen, criterion, labels_map)
    show_json(report.json) if as_json else show(report.text)
