"""What all figures share: size, colours and the way they are written."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from greenedge.files import write_atomically

# Okabe and Ito's palette, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure that needs no screen and leaves pyplot's global state alone."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def wrapped_title(title: str, figure: Figure) -> str:
    """A title whose lines are broken where they would be wider than the figure."""
    characters = int(9.5 * figure.get_figwidth())  # a character of the title's size takes about a tenth of an inch
    return "\n".join(textwrap.fill(line, characters) for line in title.splitlines())


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG, atomically."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=130, format="png"))
