"""The accuracy/cost curve."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from greenedge.exits.baselines import static_mixture
from greenedge.exits.sweep_result import SweepResult
from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title
from greenedge.reporting.names import exit_name
from greenedge.reporting.static_plot import plot_static_family


def plot_sweep(found: SweepResult, title: str = "") -> Figure:
    """Draws accuracy over mean GFLOPs, with each exit alone, a random mix of them, the backbone and the oracle.

    Args:
        found: the curve as a line; thresholds that were asked for as dots.
        title: above the figure.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    curve = found.curve
    axes.plot(curve.gflops, 100 * curve.accuracy, color=COLOURS[0], label="early exit, any shared threshold")
    if found.points is not curve:
        _plot_points(axes, found)
    _plot_fixed_exits(axes, found)
    if found.static is not None:
        family = found.static
        plot_static_family(axes, family.named, family.choices, "hull of all static choices")
    if found.policy is not None:
        point = found.policy.point
        axes.plot(point.gflops, 100 * point.accuracy, "o", color=COLOURS[0], markersize=9, label="the policy")

    oracle = found.oracle
    axes.plot(oracle.gflops, 100 * oracle.accuracy, "D", color=COLOURS[7], label="oracle: first correct exit")
    axes.axvline(found.backbone_gflops, color=COLOURS[5], linestyle=":", linewidth=1)
    axes.set(xlabel="mean GFLOPs per image", ylabel="accuracy (%)", title=wrapped_title(title, figure))
    axes.set_xlim(left=min(0.0, float(np.min(curve.gflops))))
    axes.margins(y=0.1)
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    return figure


def _plot_points(axes: Axes, found: SweepResult) -> None:
    points = found.points
    axes.plot(points.gflops, 100 * points.accuracy, "o", color=COLOURS[0], label="early exit, thresholds asked for")
    for threshold, gflops, accuracy in zip(points.thresholds, points.gflops, points.accuracy, strict=True):
        axes.annotate(
            f"{threshold:g}",
            (gflops, 100 * accuracy),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize="small",
        )


def _plot_fixed_exits(axes: Axes, found: SweepResult) -> None:
    costs, accuracies = found.standalone_gflops, found.exit_accuracies
    for index, (gflops, accuracy) in enumerate(zip(costs[:-1], accuracies, strict=False)):
        label = f"{exit_name(index, len(costs))} alone"
        axes.plot(gflops, 100 * accuracy, "s", color=COLOURS[(index + 1) % len(COLOURS)], label=label)
    axes.plot(
        found.backbone_gflops,
        100 * accuracies[-1],
        "*",
        color=COLOURS[5],
        markersize=13,
        label="backbone without exits",
    )
    mix = np.linspace(min(costs), max(float(np.max(found.curve.gflops)), found.backbone_gflops), 200)
    axes.plot(
        mix,
        100 * static_mixture(mix, np.array(costs), np.array(accuracies)),
        color="grey",
        linestyle="--",
        linewidth=1,
        label="random mix of fixed exits",
    )
