"""Measured times with and without early exit, beside those that the FLOPs predict."""

from __future__ import annotations

from matplotlib.figure import Figure

from greenedge.inference.bench_result import BenchResult
from greenedge.inference.contenders import PLAIN, Contender
from greenedge.reporting.figures import COLOURS, new_figure, wrapped_title

_ROW_INCHES, _PANEL_INCHES = 0.38, 2.3
_WITHOUT, _UNDER = COLOURS[1], COLOURS[0]


def plot_times(found: BenchResult, title: str = "") -> Figure:
    """Draws the time over the backbone's at each batch size: one row a contender, without and with early exit.

    The backbone is that in its best layout and in the engine's precision. Dotted lines stand for what FLOPs predict of
    the lead.
    """
    runs: dict[str, list[Contender]] = {each.contender.name: [] for each in found.contenders.values()}
    for key, each in found.contenders.items():
        if key != found.backbone:
            runs[each.contender.name].append(each.contender)
    rows = [(name, contenders) for name, contenders in runs.items() if contenders]
    sizes = list(found.timings.batches)

    figure = new_figure(max(6.5, 2 + _PANEL_INCHES * len(sizes)), 2 + _ROW_INCHES * len(rows))
    panels = figure.subplots(1, len(sizes), sharex=True, sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        for position, (_, contenders) in enumerate(rows):
            times = [found.timings.ratio(size, contender.key, found.backbone) for contender in contenders]
            axes.plot(times, [position] * len(times), color="0.7", zorder=1)
            colours = [_UNDER if contender.early_exit else _WITHOUT for contender in contenders]
            axes.scatter(times, [position] * len(times), color=colours, zorder=2)
        axes.axvline(1, color=COLOURS[7], linewidth=1)
        for colour, gflops in ((_WITHOUT, found.full_gflops), (_UNDER, found.gflops)):
            axes.axvline(gflops / found.backbone_gflops, color=colour, linestyle=":")
        axes.set_title(f"batches of {size}" if size > 1 else "single images", fontsize="medium")
        axes.set_xlabel("time over the backbone's", fontsize="small")
        axes.grid(alpha=0.3)
    _, right = panels[0].get_xlim()  # the panels share it, so that it spans all of them
    panels[0].set_xlim(0, right)
    panels[0].set_yticks(range(len(rows)), [PLAIN.shown if name == PLAIN.name else name for name, _ in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)

    # For the legend alone.
    axes = panels[0]
    axes.scatter([], [], color=_WITHOUT, label="no early exit")
    axes.scatter([], [], color=_UNDER, label="policy")
    axes.plot([], [], color=_WITHOUT, linestyle=":", label="no early exit, predicted by FLOPs")
    axes.plot([], [], color=_UNDER, linestyle=":", label="policy, predicted by FLOPs")
    axes.plot([], [], color=COLOURS[7], linewidth=1, label=_baseline_label(found))
    figure.suptitle(wrapped_title(title, figure), fontsize="medium")
    figure.legend(fontsize="small", loc="outside lower center", ncols=3)
    return figure


def _baseline_label(found: BenchResult) -> str:
    shown = found.contenders[found.backbone].contender.shown
    return shown if found.plain == found.backbone else f"{shown}, same precision"
