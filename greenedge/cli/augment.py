"""`greenedge augment preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Overrides
from greenedge.cli.output import say
from greenedge.cli.plugins import with_plugins

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="See what augmentations do.")


@app.callback()
def main() -> None:
    """See what augmentations do."""


@app.command()
@with_plugins
def preview(
    config: Annotated[Path, typer.Option(help="The config, a YAML file.")],
    out: Annotated[Path, typer.Option(help="The figure to write, a PNG.")],
    overrides: Overrides = None,
    columns: Annotated[int, typer.Option(min=1, max=32, help="Images per row.")] = 8,
    every: Annotated[
        bool, typer.Option("--every", help="Show all augmentations, but those that learn, in place of the config's.")
    ] = False,
) -> None:
    """Draw images before and after augmentation."""
    from greenedge.workflows.augment import preview as run_preview

    for line in run_preview(config, overrides or [], out, columns=columns, every=every):
        say(line)
