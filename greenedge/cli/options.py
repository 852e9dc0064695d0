"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe, e.g. train.epochs=3. Repeatable."),
]
Weights = Annotated[Path, typer.Option("--weights", help="A checkpoint: best.safetensors of a run directory.")]
Data = Annotated[Path | None, typer.Option("--data", help="A prepared data set; without it, the one trained on.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
