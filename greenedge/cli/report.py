"""`greenedge report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Data, Json, PolicyPrecision, Split, Static
from greenedge.cli.output import say, show_result
from greenedge.errors import UsageError


def also_report(page: Path | None, runs: list[Path], data: Path | None = None, split: str = "val") -> None:
    """Writes the page of some runs at the end of another command, and says so; None: none is wanted."""
    if page is None:
        return
    from greenedge.workflows.report import ReportOptions
    from greenedge.workflows.report import report as write_report

    say(str(write_report(runs, page, ReportOptions(data, split)).blocks[-1]))


def check_page(page: Path | None) -> None:
    """Whether a page that is wanted at the end of a command can be one, before the command begins.

    Raises:
        UsageError: it is a folder.
    """
    if page is not None and page.is_dir():
        raise UsageError(f"{page}: is a folder; give --report the name of a file, such as {page / 'report.html'}")


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, checkpoints or exports.")],
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
