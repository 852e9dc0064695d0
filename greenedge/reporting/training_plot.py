"""The figure of a training: loss and accuracies by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from greenedge.reporting.figures import COLOURS, new_figure
from greenedge.reporting.names import exit_name
from greenedge.training.history import HistoryRecord


def plot_history(history: Sequence[HistoryRecord]) -> Figure:
    """Draws the records of `history.jsonl`: the loss, and the accuracy of each exit on both splits."""
    epochs = [record.epoch for record in history]
    split = history[-1].split
    labels = ", dominant labels" if history[-1].train_labels == "dominant" else ""
    num_exits = len(history[-1].accuracy)
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [record.loss for record in history], color=COLOURS[0], marker=".")
    left.set(xlabel="epoch", ylabel="training loss, sum over exits (nats)")
    for index in range(num_exits):
        colour, name = COLOURS[index % len(COLOURS)], exit_name(index, num_exits)
        shown = [100 * record.accuracy[index] for record in history]
        right.plot(epochs, shown, color=colour, marker=".", label=f"{name}, {split}")
        values = [record.train_accuracy[index] for record in history]
        trained = [math.nan if value is None else 100 * value for value in values]  # None: its loss did not count
        right.plot(epochs, trained, color=colour, linestyle=":", label=f"{name}, training{labels}")
    right.set(xlabel="epoch", ylabel="accuracy (%)")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
