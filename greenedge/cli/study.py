"""`greenedge study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from greenedge.cli.options import Data, Json
from greenedge.cli.output import show_result


def study(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories or checkpoints of one backbone, the reference first."),
    ],
    data: Data = None,
    split: Annotated[Literal["val", "calibration"], typer.Option(help="Which images are compared on.")] = "val",
    train_images: Annotated[
        int, typer.Option(min=1, help="Training images that probes and stitches are fitted on.")
    ] = 5_000,
    images: Annotated[int, typer.Option(min=4, help="Images that are compared on.")] = 2_000,
    out: Annotated[Path, typer.Option(help="Folder for study.json, .csv and .png.")] = Path("runs/study"),
    as_json: Json = False,
) -> None:
    """Show what exits do to the blocks before them.

    Block by block beside a reference: how alike features are (linear CKA), what a linear classifier makes of them, in
    how many directions they go, whether the reference can go on from them, and how hard each exit pulls. Another seed
    of the reference among the runs shows how much of a difference is chance.
    """
    from greenedge.workflows.study import StudyOptions
    from greenedge.workflows.study import study as run_study

    show_result(run_study(runs, StudyOptions(data, split, train_images, images), out), as_json=as_json)
