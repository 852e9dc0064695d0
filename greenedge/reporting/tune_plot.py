"""Frontiers over thresholds and the policies chosen on them."""

from __future__ import annotations

from matplotlib.figure import Figure

from greenedge.exits.policy_choice import TuneResult
from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title


def plot_tuning(found: TuneResult, known: str, shown: str, title: str = "") -> Figure:
    """Draws each kind's frontier on the images it was chosen on, the same thresholds elsewhere, and the choice.

    Args:
        found: the policies.
        known: name of the split they were chosen on.
        shown: name of the other split; the same where there is none.
        title: above the figure.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    lines = []
    for kind, each in found.candidates.items():
        lines.append((f"{kind}, {known}", each.frontier, each.chosen_on))
        if shown != known:
            lines.append((f"{kind}, {shown}", each.shown_curve, each.shown))
    for index, (name, curve, point) in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(curve.gflops, 100 * curve.accuracy, color=colour, label=name, linewidth=1.3)
        axes.plot(point.gflops, 100 * point.accuracy, "o", color=colour, markersize=9, fillstyle="none")
    axes.plot([], [], "o", color="grey", fillstyle="none", markersize=9, label="chosen")
    axes.set(xlabel="mean GFLOPs per image", ylabel="accuracy (%)", title=wrapped_title(title, figure))
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    return figure
