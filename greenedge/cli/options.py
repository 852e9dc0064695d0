"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from greenedge.errors import UsageError

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe, e.g. train.epochs=3. Repeatable."),
]
Weights = Annotated[Path, typer.Option("--weights", help="A checkpoint: best.safetensors of a run directory.")]
Data = Annotated[Path | None, typer.Option("--data", help="A prepared data set; without it, the one trained on.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
LabelsMap = Annotated[
    Path | None,
    typer.Option(help="A map from class indices to the labels to answer in; the data set's own labels without it."),
]
Criterion = Annotated[
    str | None,
    typer.Option(
        help="What thresholds are compared with: entropy, max_probability or margin; the recipe's by default."
    ),
]


def parse_threshold(text: str) -> float:
    """A threshold from the command line.

    Raises:
        UsageError: not a finite number of at least 0.
    """
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"threshold {text.strip()!r} is not a number") from None
    if not math.isfinite(number) or number < 0:
        raise UsageError(f"threshold {text.strip()} is not a finite number of at least 0")
    return number
