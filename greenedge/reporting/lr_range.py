"""What a learning rate range test found: a table, a suggestion, JSON, CSV and a figure."""

from __future__ import annotations

import dataclasses

from matplotlib.figure import Figure

from greenedge.config import RunConfig
from greenedge.config.describe import model_summary
from greenedge.reporting.blocks import Block, CommandResult, Table
from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title
from greenedge.training.lr_range import LrRange

_ROWS = 13  # that are shown; the CSV file has all


def present_lr_range(result: LrRange, config: RunConfig) -> CommandResult[LrRange]:
    """The losses by rate, and what follows for the config."""
    rows = list(zip(result.rates, result.losses, result.smoothed, strict=True))
    every = max(1, -(-len(rows) // _ROWS))
    headers = ["learning rate", "loss (nats)", "smoothed"]
    shown = [[f"{rate:.3g}", f"{loss:.4f}", f"{smooth:.4f}"] for rate, loss, smooth in rows[::every]]
    blocks: list[Block] = [
        f"{model_summary(config.model)}, {config.train.optimizer.name}, {config.train.batch_size} images per step",
        Table(headers, shown),
        *([f"{len(shown)} of {len(rows)} steps are shown; the CSV file has all"] if every > 1 else []),
        *_advice(result, config),
    ]
    json = {"optimizer": config.train.optimizer.name, **dataclasses.asdict(result)}
    csv = Table(["learning_rate", "loss", "smoothed_loss"], rows)
    return CommandResult(result, tuple(blocks), json, csv, plot_lr_range(result, model_summary(config.model)))


def plot_lr_range(result: LrRange, title: str) -> Figure:
    """Draws the loss of each step over its rate, smoothed and as it was, with the suggested rate."""
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    axes.plot(result.rates, result.losses, ".", color=COLOURS[4], markersize=4, label="each batch")
    axes.plot(result.rates, result.smoothed, color=COLOURS[0], label="smoothed")
    if result.suggested is not None:
        axes.axvline(result.suggested, color=COLOURS[2], label=f"falls fastest: {result.suggested:.2g}")
    if result.lowest_loss_at is not None:
        axes.axvline(
            result.lowest_loss_at, color=COLOURS[5], linestyle=":", label=f"lowest: {result.lowest_loss_at:.2g}"
        )
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss (nats)")
    axes.set_title(wrapped_title(title, figure), fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _advice(result: LrRange, config: RunConfig) -> list[str]:
    """What to set, and how far the rate may rise."""
    if result.suggested is None or result.lowest_loss_at is None:
        return [
            "the loss does not fall clearly at any of these rates: try others (--lowest, --highest) or more --steps"
        ]
    name = config.train.optimizer.name
    rate, lowest = f"{result.suggested:.2g}", f"{result.lowest_loss_at:.2g}"
    said = [
        f"the loss falls fastest at a rate of {rate}: --set train.optimizer.{name}.lr={rate}; the highest rate of "
        f" a schedule belongs below {lowest}, where it is lowest"
    ]
    if result.diverged:
        said.append(f"it diverges at {result.rates[-1]:.2g}, where the test was ended")
    elif result.lowest_loss_at == result.rates[-1]:
        said.append("it is still falling at the highest rate: a higher --highest would show more")
    return said
