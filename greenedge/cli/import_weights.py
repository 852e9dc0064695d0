"""`greenedge import-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.output import say


def import_weights(
    weights: Annotated[Path, typer.Argument(help="A state dict of EarlyExitCustomNet64 or 128 (.pth).")],
    data: Annotated[Path, typer.Option(help="A prepared data set with the same classes, in the same order.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write, a .safetensors file.")],
) -> None:
    """Turn the paper's weights into a checkpoint."""
    from greenedge.workflows.import_weights import import_weights as run_import

    for line in run_import(weights, data, out):
        say(line)
