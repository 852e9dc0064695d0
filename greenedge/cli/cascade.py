"""`greenedge cascade`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Data, Json
from greenedge.cli.output import show_result


def cascade(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run directories or checkpoints, the cheapest first; RUN@96 is seen at 96 px, RUN:blocks.5.2 has that "
            "exit alone and its final one, RUN:final no early exit.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The new run directory.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make one network of several trained ones.

    Images that no exit of one network settles go on to the next, which sees them at its own size. The result is a
    checkpoint that all commands take; where the runs' outputs are kept, they are joined.
    """
    from greenedge.workflows.cascade import cascade as run_cascade

    show_result(run_cascade(runs, data, out), as_json=as_json)
