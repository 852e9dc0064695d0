"""Measured times beside those that the FLOPs predict."""

from __future__ import annotations

from matplotlib.figure import Figure

from greenedge.inference.benchmark import BACKBONE, NO_EARLY_EXIT, POLICY, BenchResult
from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title


def plot_times(found: BenchResult, title: str = "") -> Figure:
    """Draws the time over the backbone's at each batch size, and the ratio of GFLOPs as a line.

    The backbone is that in its best layout and in the engine's precision.
    """
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    sizes = list(found.timings.batches)
    predicted = {
        (NO_EARLY_EXIT, "engine, no early exit"): found.full_gflops / found.backbone_gflops,
        (POLICY, "engine, policy"): found.gflops / found.backbone_gflops,
    }
    width = 0.8 / len(predicted)
    for index, ((name, shown), ratio) in enumerate(predicted.items()):
        positions = [position + (index - (len(predicted) - 1) / 2) * width for position in range(len(sizes))]
        times = [found.timings.ratio(size, name, BACKBONE) for size in sizes]
        axes.bar(positions, times, width, color=COLOURS[index], label=f"{shown}, measured")
        axes.axhline(ratio, color=COLOURS[index], linestyle=":", label=f"{shown}, predicted by FLOPs")
    axes.axhline(1, color=COLOURS[7], linewidth=1, label="backbone, best layout, same precision")
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set(xlabel="images per batch", ylabel="time over the backbone's", title=wrapped_title(title, figure))
    axes.grid(alpha=0.3, axis="y")
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    return figure
