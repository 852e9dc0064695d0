"""`greenedge list`: what a config can choose from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import typer

from greenedge.cli.options import Json
from greenedge.cli.output import show_result
from greenedge.cli.plugins import with_plugins

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What a config can choose from.")

# Tables of components -> the command's one line of help.
_TABLES = {
    "heads": "Exit heads, with options and defaults.",
    "augmentations": "Augmentations, with options and defaults.",
    "loggers": "Loggers of trainings, with their options.",
    "losses": "Losses, with options and defaults.",
    "objectives": "Objectives over all exits, with options.",
    "optimizers": "Optimizers, with options and defaults.",
    "schedules": "Learning-rate schedules, with options.",
}


@app.callback()
def main() -> None:
    """What a config can choose from."""


@app.command()
@with_plugins
def backbones(as_json: Json = False) -> None:
    """Backbones, by family."""
    from greenedge.workflows.listing import list_backbones

    show_result(list_backbones(), as_json=as_json)


@app.command()
@with_plugins
def blocks(
    backbone: Annotated[str, typer.Argument(help="A backbone, such as resnet18.")],
    image_size: Annotated[int, typer.Option(min=8, max=2048, help="Pixels per side of the images.")] = 64,
    stem: Annotated[
        Literal["imagenet", "small"], typer.Option(help="As model.stem of a config: imagenet or small.")
    ] = "imagenet",
    as_json: Json = False,
) -> None:
    """Blocks of a backbone, for exits to follow."""
    from greenedge.workflows.listing import list_blocks

    show_result(list_blocks(backbone, image_size, stem), as_json=as_json)


def _list_table(table: str) -> Callable[..., None]:
    def command(as_json: Json = False) -> None:
        from greenedge.workflows.listing import list_components

        show_result(list_components(table), as_json=as_json)

    return command


for _table, _help in _TABLES.items():
    app.command(_table, help=_help)(with_plugins(_list_table(_table)))


@app.command()
def criteria(as_json: Json = False) -> None:
    """Criteria that thresholds are compared with."""
    from greenedge.workflows.listing import list_criteria

    show_result(list_criteria(), as_json=as_json)


@app.command()
def configs(as_json: Json = False) -> None:
    """Configs that come with greenedge."""
    from greenedge.workflows.listing import list_configs

    show_result(list_configs(), as_json=as_json)
