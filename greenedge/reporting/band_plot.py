"""Curves of several networks with the bands in which they would lie on other images of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.reporting.figures import COLOURS, new_figure, save_figure


@dataclass(frozen=True)
class Band:
    """One network's curve.

    Attributes:
        name: in the legend.
        gflops: float (P,), rising mean costs.
        accuracy: float (P,), in [0, 1].
        band_gflops: float (G,), costs at which the band is known.
        low: float (G,), the lower edge of the best accuracy within each cost.
        high: float (G,), the upper edge.
        plain: (GFLOPs, accuracy) of the network without early exits.
    """

    name: str
    gflops: np.ndarray
    accuracy: np.ndarray
    band_gflops: np.ndarray
    low: np.ndarray
    high: np.ndarray
    plain: tuple[float, float]


def draw_bands(bands: Sequence[Band], title: str, path: Path) -> None:
    """Draws accuracy over mean GFLOPs, one colour a network.

    Args:
        bands: the networks.
        title: above the picture.
        path: the PNG to write.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    for index, band in enumerate(bands):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(band.gflops, 100 * band.accuracy, color=colour, label=band.name)
        axes.fill_between(band.band_gflops, 100 * band.low, 100 * band.high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(band.plain[0], 100 * band.plain[1], "*", color=colour, markersize=13)
    axes.plot([], [], "*", color="grey", markersize=13, label="plain network")
    axes.fill_between([], [], [], color="grey", alpha=0.2, label="95 % of resamples: best within the cost")
    axes.set(xlabel="mean GFLOPs an image", ylabel="accuracy (%)", title=title)
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    save_figure(figure, path)
