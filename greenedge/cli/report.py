"""`greenedge report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Data, Json, PolicyPrecision, Split, Static
from greenedge.cli.output import show_result


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories or checkpoints.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Of the page. Default: the runs' names.")] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Leave the images of the data set out.")] = False,
    data: Data = None,
    split: Split = "val",
    static: Static = None,
    precision: PolicyPrecision = None,
    as_json: Json = False,
) -> None:
    """One HTML page to choose a threshold on.

    What to deploy, the accuracy/cost curve with sliders over exact operating points, calibration, confusions, images
    and training curves, in one file that needs no network. A policy.json beside the weights is the chosen policy;
    bench.json and place.json are shown where they are.
    """
    from greenedge.workflows.report import ReportOptions
    from greenedge.workflows.report import report as write_report

    options = ReportOptions(data, split, precision, tuple(static or ()), title, images=not no_images)
    show_result(write_report(runs, out, options), as_json=as_json)
