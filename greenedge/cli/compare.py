"""`greenedge compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Criterion, Data, Json, OwnPrecision, Page, Split, Static
from greenedge.cli.output import show_result
from greenedge.cli.report import also_report, check_page


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, checkpoints or exports, two or more.")
    ],
    data: Data = None,
    split: Split = "val",
    criterion: Criterion = None,
    static: Static = None,
    precision: OwnPrecision = None,
    out: Annotated[Path, typer.Option(help="Folder for compare.json, .csv and .png.")] = Path("runs/compare"),
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Compare networks on the same images.

    Accuracy, cost and areas with intervals, every pair's difference, and one figure with bands.
    """
    from greenedge.workflows.compare import compare as run_comparison
    from greenedge.workflows.outputs import PassOptions

    check_page(page)
    result = run_comparison(runs, PassOptions(data, split, precision), criterion, out, static or ())
    show_result(result, as_json=as_json)
    also_report(page, runs, data, split)
