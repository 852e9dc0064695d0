"""Curves of several networks with the bands in which they would lie on other images of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from greenedge.exits.network_comparison import Comparison
from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title
from greenedge.reporting.static_plot import plot_static_family


def plot_comparison(
    found: Comparison, names: Sequence[str], backbone_gflops: Sequence[float], title: str = ""
) -> Figure:
    """Draws accuracy over mean GFLOPs, one colour per network.

    Args:
        found: the networks.
        names: in the legend.
        backbone_gflops: of each network's backbone without exits.
        title: above the figure.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    for index, (name, network, gflops) in enumerate(zip(names, found.networks, backbone_gflops, strict=True)):
        colour, band = COLOURS[index % len(COLOURS)], network.band
        axes.plot(band.gflops, 100 * band.accuracy, color=colour, label=name)
        axes.fill_between(band.band_gflops, 100 * band.low, 100 * band.high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(gflops, 100 * network.accuracy.value, "*", color=colour, markersize=13)
    family = found.networks[0].static
    if family is not None:
        plot_static_family(axes, family.named, family.named, "hull of the static networks")
    axes.plot([], [], "*", color="grey", markersize=13, label="backbone without exits")
    axes.fill_between([], [], [], color="grey", alpha=0.2, label="95 % of resamples: best within the cost")
    axes.set(xlabel="mean GFLOPs per image", ylabel="accuracy (%)", title=wrapped_title(title, figure))
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    return figure
