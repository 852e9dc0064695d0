"""The accuracy/energy curve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.exits.baselines import static_mixture
from greenedge.exits.sweep import Sweep
from greenedge.reporting.figures import COLOURS, new_figure, save_figure
from greenedge.reporting.names import exit_name


@dataclass(frozen=True)
class ReferenceMarks:
    """What a network does without deciding anything.

    Attributes:
        gflops: (E,), of each exit used alone: the blocks before it and its head.
        accuracy: (E,), of each exit, in [0, 1].
        plain_gflops: of the network without early exits.
        oracle: (mean GFLOPs, accuracy) of leaving at the first right exit.
    """

    gflops: tuple[float, ...]
    accuracy: tuple[float, ...]
    plain_gflops: float
    oracle: tuple[float, float]


def draw_sweep(curve: Sweep, chosen: Sweep | None, marks: ReferenceMarks, title: str, path: Path) -> None:
    """Draws accuracy over mean GFLOPs.

    Args:
        curve: all operating points, drawn as a line.
        chosen: the points that were asked for, drawn as dots with their thresholds; None for none.
        marks: each exit alone, the plain network and the oracle.
        title: above the picture.
        path: the PNG to write.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    axes.plot(curve.gflops, 100 * curve.accuracy, color=COLOURS[0], label="early exit, any shared threshold")
    if chosen is not None:
        axes.plot(
            chosen.gflops,
            100 * chosen.accuracy,
            "o",
            color=COLOURS[0],
            label="early exit, thresholds asked for",
        )
        for threshold, gflops, accuracy in zip(chosen.thresholds, chosen.gflops, chosen.accuracy, strict=True):
            axes.annotate(
                f"{threshold:g}",
                (gflops, 100 * accuracy),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize="small",
            )
    exits = len(marks.gflops)
    for index, (gflops, accuracy) in enumerate(zip(marks.gflops[:-1], marks.accuracy, strict=False)):
        label = f"{exit_name(index, exits)} alone"
        axes.plot(gflops, 100 * accuracy, "s", color=COLOURS[(index + 1) % len(COLOURS)], label=label)
    axes.plot(
        marks.plain_gflops,
        100 * marks.accuracy[-1],
        "*",
        color=COLOURS[5],
        markersize=13,
        label="plain network: final exit alone, no other head",
    )
    mix = np.linspace(min(marks.gflops), max(float(np.max(curve.gflops)), marks.plain_gflops), 200)
    axes.plot(
        mix,
        100 * static_mixture(mix, np.array(marks.gflops), np.array(marks.accuracy)),
        color="grey",
        linestyle="--",
        linewidth=1,
        label="fixed exits, by lot",
    )
    axes.plot(marks.oracle[0], 100 * marks.oracle[1], "D", color=COLOURS[7], label="oracle: the first right exit")
    axes.axvline(marks.plain_gflops, color=COLOURS[5], linestyle=":", linewidth=1)
    axes.set(xlabel="mean GFLOPs an image", ylabel="accuracy (%)", title=title)
    low = min(0.0, float(np.min(curve.gflops)))
    axes.set_xlim(left=low)
    axes.margins(y=0.1)
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    save_figure(figure, path)
