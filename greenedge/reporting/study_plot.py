"""What exits do to the blocks before them, one panel a measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title
from greenedge.training.study import Study

_STYLES = ("-", "--", ":", "-.")


def plot_study(found: Study, runs: Sequence[str], title: str = "") -> Figure:
    """Draws each measure over the blocks, one colour a run.

    Args:
        found: the study.
        runs: names for the legend, the reference first.
        title: above the figure.
    """
    figure = new_figure(11, 7.5)
    panels = figure.subplots(2, 3, sharex=True).flatten()
    names = [
        f"linear CKA with {runs[0]}",
        "probe (%)",
        f"{runs[0]} stitched on (%)",
        "effective rank",
        "norm of each exit's gradient",
        "cosine with the final exit's gradient",
    ]
    places = np.arange(len(found.blocks))
    for index, (run, network) in enumerate(zip(runs, found.networks, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        measures = (
            found.similarity[0, index],
            100 * network.probe_accuracy,
            100 * network.stitched_accuracy,
            network.effective_rank,
        )
        for axes, measure in zip(panels, measures, strict=False):
            axes.plot(places, measure, "o-", color=colour, markersize=3, label=run if axes is panels[0] else None)
        norms, cosines = network.gradients.norms.numpy(), network.gradients.cosines.numpy()
        for exit_index in range(len(norms)):
            style = "-" if exit_index == len(norms) - 1 else _STYLES[1 + exit_index % (len(_STYLES) - 1)]
            panels[4].plot(places, norms[exit_index], style, color=colour)
            if exit_index < len(norms) - 1:
                panels[5].plot(places, cosines[exit_index], style, color=colour)
    for axes, name in zip(panels, names, strict=True):
        _finish(axes, name, found.blocks)
    panels[0].set_ylim(top=1.03)
    panels[4].set_yscale("log")
    panels[5].axhline(0, color="grey", linewidth=0.8)
    panels[4].plot([], [], "-", color="grey", label="final exit")
    panels[4].plot([], [], "--", color="grey", label="early exits")
    figure.suptitle(wrapped_title(title, figure), fontsize="medium")
    figure.legend(fontsize="small", loc="outside lower center", ncols=4)
    return figure


def _finish(axes: Axes, name: str, blocks: Sequence[str]) -> None:
    axes.set_title(name, fontsize="medium")
    axes.set_xticks(range(len(blocks)), blocks, rotation=90, fontsize="x-small")
    axes.grid(alpha=0.3)
