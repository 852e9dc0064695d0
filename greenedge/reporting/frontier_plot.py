"""Fronts over thresholds: accuracy over mean GFLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.reporting.figures import COLOURS, new_figure, save_figure


@dataclass(frozen=True)
class ChosenPoint:
    """An operating point that was chosen.

    Attributes:
        curve: the name of the curve whose colour it has.
        gflops: mean over images.
        accuracy: in [0, 1].
    """

    curve: str
    gflops: float
    accuracy: float


def draw_frontiers(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], marks: Sequence[ChosenPoint], title: str, path: Path
) -> None:
    """Draws curves of (mean GFLOPs, accuracy) and rings around what was chosen.

    Args:
        curves: name -> float (P,) GFLOPs and float (P,) accuracy in [0, 1].
        marks: chosen points.
        title: above the picture.
        path: the PNG to write.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(curves)}
    for name, (gflops, accuracy) in curves.items():
        axes.plot(gflops, 100 * accuracy, color=colours[name], label=name, linewidth=1.3)
    for mark in marks:
        axes.plot(mark.gflops, 100 * mark.accuracy, "o", color=colours[mark.curve], markersize=9, fillstyle="none")
    axes.plot([], [], "o", color="grey", fillstyle="none", markersize=9, label="chosen")
    axes.set(xlabel="mean GFLOPs an image", ylabel="accuracy (%)", title=title)
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    save_figure(figure, path)
