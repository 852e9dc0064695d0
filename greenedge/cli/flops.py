"""`greenedge flops`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Json, Overrides
from greenedge.cli.output import show_result


def flops(
    config: Annotated[Path, typer.Option(help="The config, a YAML file.")],
    overrides: Overrides = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs. Default: the data set's, or 200 without one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for flops.json and flops.csv.")] = None,
    as_json: Json = False,
) -> None:
    """GFLOPs and parameters per exit of a config."""
    from greenedge.workflows.flops import count_config

    result = count_config(config, overrides or [], classes, out)
    show_result(result, as_json=as_json)
