"""Images that an early exit got right and the final one wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from greenedge.reporting.figures import new_figure
from greenedge.reporting.names import short_name

_COLUMNS = 6


@dataclass(frozen=True)
class Example:
    """One image.

    Attributes:
        image: uint8 (3, H, W).
        early: the class that the early exit predicted, which is correct.
        final: the class that the final exit predicted.
        exit_number: of that early exit, from 1.
    """

    image: np.ndarray
    early: str
    final: str
    exit_number: int


def plot_examples(examples: Sequence[Example]) -> Figure:
    """Draws the images in rows of six with both predictions above each.

    Args:
        examples: at least one.
    """
    columns = min(_COLUMNS, len(examples))
    rows = -(-len(examples) // columns)
    figure = new_figure(2 * columns, 2.5 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, example in zip(grid.flat, examples, strict=False):
        axes.imshow(example.image.transpose(1, 2, 0))
        lines = (f"exit {example.exit_number}: {short_name(example.early)}", f"final: {short_name(example.final)}")
        axes.set_title("\n".join(lines), fontsize="small", loc="left")
    return figure
