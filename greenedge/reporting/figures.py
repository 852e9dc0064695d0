"""What all figures share: size, colours and the way they are written."""

from __future__ import annotations

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


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG, atomically."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=130, format="png"))
