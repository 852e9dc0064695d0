"""Networks without early exit, and what they reach together, in a figure of accuracy over GFLOPs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from greenedge.exits.baselines import static_mixture
from greenedge.exits.static_family import StaticChoice


def plot_static_family(axes: Axes, named: Sequence[StaticChoice], hull: Sequence[StaticChoice], label: str) -> None:
    """Draws the networks that were named, and the hull of some choices."""
    axes.plot(
        [each.gflops for each in named], [100 * each.accuracy for each in named], "P", color="black", markersize=7
    )
    for each in named:
        place = (each.gflops, 100 * each.accuracy)
        axes.annotate(each.name, place, xytext=(5, -11), textcoords="offset points", fontsize="small")
    corners, accuracies = np.array([each.gflops for each in hull]), np.array([each.accuracy for each in hull])
    costs = np.linspace(corners.min(), corners.max(), 400)
    axes.plot(costs, 100 * static_mixture(costs, corners, accuracies), color="black", linewidth=1, label=label)
