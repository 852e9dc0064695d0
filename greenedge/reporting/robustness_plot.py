"""Accuracy and cost under each corruption, beside the clean images."""

from __future__ import annotations

from matplotlib.figure import Figure

from greenedge.exits.robustness import Robustness
from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title


def plot_robustness(found: Robustness, title: str = "") -> Figure:
    """Draws a bar per corruption, the mean over its severities, with a dot for each severity; dashed: clean images.

    Args:
        found: what the policy does.
        title: above the figure.
    """
    names = found.corruptions
    figure = new_figure(10, 1.9 + (0.5 if found.held else 0.34) * len(names))
    panels = figure.subplots(1, 2, sharey=True)
    kinds = [(False, "policy"), (True, "running quantiles")] if found.held else [(False, "policy")]
    height = 0.8 / len(kinds)
    for axes, key, scale, label in (
        (panels[0], "accuracy", 100, "accuracy (%)"),
        (panels[1], "gflops", 1, "mean GFLOPs per image"),
    ):
        for number, (held, kind) in enumerate(kinds):
            places = [row + (number - (len(kinds) - 1) / 2) * height for row in range(len(names))]
            means = [scale * getattr(found.mean(name, held=held), key) for name in names]
            axes.barh(places, means, 0.92 * height, color=COLOURS[number], alpha=0.6, label=kind)
            for row, name in enumerate(names):
                points = [each.held if held else each.point for each in found.shifted if each.corruption == name]
                values = [scale * getattr(point, key) for point in points]
                axes.plot(values, [places[row]] * len(values), ".", color=COLOURS[number], markersize=5)
        clean = scale * getattr(found.clean.point, key)
        axes.axvline(clean, color="black", linestyle="--", linewidth=1.2, label="policy, clean images")
        axes.set(xlabel=label, xlim=(0, None))
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panels[0].invert_yaxis()
    figure.suptitle(wrapped_title(title, figure))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize="small", loc="outside lower center", ncols=len(labels))
    return figure
