"""Accuracy and cost of several networks against a shared threshold (the paper's Figures 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from greenedge.exits.sweep import Sweep
from greenedge.reporting.figures import COLOURS, new_figure


def plot_thresholds(curves: Mapping[str, Sweep], points: Mapping[str, Sweep], title: str, unit: str) -> Figure:
    """Draws accuracy against T, mean GFLOPs against T, and accuracy against mean GFLOPs.

    Args:
        curves: name -> many thresholds, drawn as a line.
        points: name -> the thresholds to mark; a name that is not there has none.
        title: above the figure.
        unit: of the thresholds.
    """
    figure = new_figure(13, 4.5)
    by_accuracy, by_energy, both = figure.subplots(1, 3)
    for index, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        for sweep, style in ((curve, "-"), (points.get(name), "o")):
            if sweep is None:
                continue
            label = name if sweep is curve else None
            by_accuracy.plot(sweep.thresholds, 100 * sweep.accuracy, style, color=colour)
            by_energy.plot(sweep.thresholds, sweep.gflops, style, color=colour)
            both.plot(sweep.gflops, 100 * sweep.accuracy, style, color=colour, label=label)
    by_accuracy.set(xlabel=f"threshold T ({unit})", ylabel="accuracy (%)")
    by_energy.set(xlabel=f"threshold T ({unit})", ylabel="mean GFLOPs per image")
    both.set(xlabel="mean GFLOPs per image", ylabel="accuracy (%)")
    dearest = max(float(np.max(curve.gflops)) for curve in curves.values())
    by_energy.set_ylim(0, 1.05 * dearest)
    both.set_xlim(0, 1.05 * dearest)
    for axes in (by_accuracy, by_energy, both):
        axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    figure.suptitle(title)
    return figure
