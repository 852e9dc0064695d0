"""`greenedge labels show | check | build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Json
from greenedge.cli.output import say, show_result

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Maps between labels and class indices.")


@app.command("show")
def show_map(
    labels_map: Annotated[Path, typer.Argument(help="A label map, a pickled dict.")], as_json: Json = False
) -> None:
    """Print a label map."""
    from greenedge.workflows.labels import show_labels

    result = show_labels(labels_map)
    show_result(result, as_json=as_json)


@app.command()
def check(
    labels_map: Annotated[Path, typer.Argument(help="A map from labels to class indices.")],
    data: Annotated[Path, typer.Option(help="A prepared data set.")],
) -> None:
    """Compare a label map with a data set."""
    from greenedge.workflows.labels import check_labels

    for line in check_labels(labels_map, data):
        say(line)


@app.command()
def build(
    classes: Annotated[Path, typer.Argument(help="A text file with one label per line, or a prepared data set.")],
    out: Annotated[Path, typer.Option(help="Folder for labels_map.pkl and deeplake_labels_map.pkl.")],
) -> None:
    """Write both label maps of a class list."""
    from greenedge.workflows.labels import build_labels

    for line in build_labels(classes, out):
        say(line)
