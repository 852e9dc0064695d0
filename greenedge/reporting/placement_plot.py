"""How much of the classes each block of a backbone tells, at which cost."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from greenedge.exits.placement import Placement
from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title


def plot_placement(found: Placement, split: str, title: str = "") -> Figure:
    """Draws the accuracy of each block's probe against the cost of the backbone up to it, and the chosen blocks.

    Args:
        found: the placement.
        split: name of the images.
        title: above the figure.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    each = found.candidates
    costs, accuracy = each.backbone_gflops, 100 * each.accuracy
    axes.plot(costs[:-1], accuracy[:-1], "o-", color=COLOURS[0], linewidth=1.3, markersize=4, label="probe of a block")
    axes.plot(each.plain_gflops, accuracy[-1], "*", color=COLOURS[5], markersize=13, label="backbone's own classifier")
    chosen = list(found.chosen.blocks)
    axes.plot(costs[chosen], accuracy[chosen], "o", color=COLOURS[1], markersize=11, fillstyle="none", label="chosen")
    for block, name in enumerate(each.names):
        _annotate(axes, name, (float(costs[block]), float(accuracy[block])), above=block % 2 == 0, bold=block in chosen)
    if found.goal.budget_gflops is not None:
        axes.axvline(found.goal.budget_gflops, color="grey", linestyle="--", linewidth=1, label="budget")
    axes.set(xlabel="GFLOPs per image up to the block", ylabel=f"accuracy on {split} images (%)")
    axes.set_title(wrapped_title(title, figure))
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    return figure


def _annotate(axes: Axes, name: str, point: tuple[float, float], *, above: bool, bold: bool) -> None:
    """Names a block on the upper left or the lower right of its point, where a rising curve leaves space."""
    axes.annotate(
        name,
        point,
        xytext=(-6, 5) if above else (6, -11),
        textcoords="offset points",
        horizontalalignment="right" if above else "left",
        fontsize="small" if bold else "x-small",
        fontweight="bold" if bold else "normal",
        color="black" if bold else "grey",
    )
