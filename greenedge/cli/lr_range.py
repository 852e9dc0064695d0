"""`greenedge lr-range`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Json, Overrides
from greenedge.cli.output import show_result


def lr_range(
    config: Annotated[Path, typer.Option(help="The config, a YAML file.")],
    overrides: Overrides = None,
    lowest: Annotated[float, typer.Option(help="The first learning rate.")] = 1e-6,
    highest: Annotated[float, typer.Option(help="The last one, unless the loss diverges before.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Number of rates, each tried on another batch.")] = 100,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. Default: runs/NAME-lr-range.")] = None,
    as_json: Json = False,
) -> None:
    """Find the learning rates that a config learns at.

    Trains for some steps while the rate rises, and draws the loss (Smith 2017). Writes lr-range.json, .csv and .png; no
    run is made or changed.
    """
    from greenedge.training.lr_range import RateRange
    from greenedge.workflows.lr_range import lr_range as run_lr_range

    wanted = RateRange(lowest, highest, steps)
    show_result(run_lr_range(config, overrides or [], wanted, out), as_json=as_json)
