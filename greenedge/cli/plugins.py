"""The option --plugin, which commands take by being wrapped in `with_plugins`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file with components of your own. Repeatable."),
]


def with_plugins(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one option more, and with the plugins in use before it begins."""

    @functools.wraps(command)
    def run(*, plugins: list[Path] | None = None, **arguments: Any) -> None:
        if plugins or entry_points(group="greenedge.plugins"):  # else nothing needs torch yet
            from greenedge.training.plugins import load_plugins

            load_plugins(plugins or [])
        command(**arguments)

    # typer reads these two, and does not evaluate annotations of a signature that is given.
    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("plugins", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Plugins)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "plugins": Plugins}
    return run
