"""Confusion matrices, one panel per exit."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from greenedge.exits.confusion import Confusion
from greenedge.reporting.figures import new_figure
from greenedge.reporting.names import exit_name, short_name

_NAMED = 20  # classes whose names there is room for
_LETTERS = 14
_COLUMNS = 3


def plot_confusion(confusion: Confusion, names: Sequence[str]) -> Figure:
    """Draws the share of each true class (rows) that was predicted as each class (columns), at each exit.

    Args:
        confusion: of E exits and C classes.
        names: (C,), of the classes; of more than 20, only a few indices are written.
    """
    exits = len(confusion.counts)
    columns = min(exits, _COLUMNS)
    rows = -(-exits // columns)
    figure = new_figure(4.2 * columns + 0.8, 4.2 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[exits:]:
        axes.axis("off")

    # The root of the share is shown, as confusions are rare beside what is right.
    for index, axes in enumerate(grid.flat[:exits]):
        image = axes.imshow(
            confusion.class_shares[index], norm=PowerNorm(0.5, 0, 1), cmap="magma_r", interpolation="nearest"
        )
        axes.set_title(exit_name(index, exits))
        axes.set(xlabel="predicted class", ylabel="true class")
        if len(names) <= _NAMED:
            short = [short_name(name, _LETTERS) for name in names]
            axes.set_xticks(range(len(names)), short, rotation=90, fontsize="small")
            axes.set_yticks(range(len(names)), short, fontsize="small")
    figure.colorbar(image, ax=grid, shrink=0.8, label="share of the true class")
    return figure
