"""Measured times beside those that the FLOPs promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from greenedge.reporting.figures import COLOURS, new_figure, save_figure


def draw_times(
    ratios: Mapping[str, Sequence[float]],
    promised: Mapping[str, float],
    batches: Sequence[int],
    title: str,
    path: Path,
) -> None:
    """Draws the time over the backbone's at each batch size, and the ratio of GFLOPs as a line.

    The backbone is that in its best layout and in the engine's precision.

    Args:
        ratios: contender -> time over the backbone's, one a batch size.
        promised: contender -> its mean GFLOPs over the backbone's.
        batches: images a batch.
        title: above the picture.
        path: the PNG to write.
    """
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    width = 0.8 / len(ratios)
    for index, (name, values) in enumerate(ratios.items()):
        places = [place + (index - (len(ratios) - 1) / 2) * width for place in range(len(batches))]
        axes.bar(places, values, width, color=COLOURS[index], label=f"{name}, measured")
        axes.axhline(promised[name], color=COLOURS[index], linestyle=":", label=f"{name}, by GFLOPs")
    axes.axhline(1, color=COLOURS[7], linewidth=1, label="backbone, best layout, same precision")
    axes.set_xticks(range(len(batches)), [str(size) for size in batches])
    axes.set(xlabel="images a batch", ylabel="time over the backbone's", title=title)
    axes.grid(alpha=0.3, axis="y")
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    save_figure(figure, path)
