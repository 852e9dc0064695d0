"""`greenedge config schema` and `greenedge configs show | copy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.output import say, show, show_json
from greenedge.cli.plugins import with_plugins

config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What a config may hold.")


@config_app.callback()
def main() -> None:
    """What a config may hold."""


@config_app.command()
@with_plugins
def schema(
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: standard output.")] = None,
) -> None:
    """Write the JSON Schema of configs."""
    from greenedge.training.configs import build_schema, write_schema

    if out is None:
        show_json(build_schema())
    else:
        write_schema(out)
        say(f"{out}: written; an editor uses it in a config that begins with")
        say(f"# yaml-language-server: $schema={out}")


configs_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Configs that come with greenedge.")

Name = Annotated[str, typer.Argument(help="A name that `greenedge list configs` prints, such as quickstart.")]


@configs_app.callback()
def configs_main() -> None:
    """Configs that come with greenedge."""


@configs_app.command("show")
def show_config(name: Name) -> None:
    """Print a config."""
    from greenedge.config.shipped import shipped_file

    show(shipped_file(name).read_text(encoding="utf-8").rstrip())


@configs_app.command("copy")
def copy_config(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: the config's name, here.")] = None,
) -> None:
    """Copy a config, to change it."""
    from greenedge.config.shipped import copy_shipped

    say(f"{copy_shipped(name, out)}: written")
