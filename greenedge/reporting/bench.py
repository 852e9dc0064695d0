"""The result of `greenedge bench` as tables, JSON, CSV and a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from greenedge.inference.benchmark import BACKBONE, NO_EARLY_EXIT, PLAIN, POLICY, BenchResult
from greenedge.reporting.bench_plot import plot_times
from greenedge.reporting.blocks import CommandResult, Table

# What contenders are called for people; their keys in bench.json stay.
SHOWN = {
    PLAIN: "backbone, as trained",
    BACKBONE: "backbone, best layout",
    NO_EARLY_EXIT: "engine, no early exit",
    POLICY: "engine, policy",
}
_TIMING_KEYS = ["median_s", "images_per_second", "over_plain", "over_backbone", "spread"]


def present_bench(model: str, split: str, images: int, found: BenchResult) -> CommandResult[BenchResult]:
    """Latency, throughput and savings, measured and predicted by FLOPs.

    Args:
        model: what was timed, for the heading.
        split: the images that were run.
        images: how many the split has.
        found: what was measured.
    """
    json = _json(found, split, images)
    rows = [
        [size, name, *(each[key] for key in _TIMING_KEYS)]
        for size, batch in json["batches"].items()
        for name, each in batch.items()
    ]
    return CommandResult(
        value=found,
        blocks=tuple(_blocks(model, found)),
        json=json,
        csv=Table(["batch", "contender", *_TIMING_KEYS], rows),
        figure=plot_times(found, model),
    )


def _json(found: BenchResult, split: str, images: int) -> dict[str, Any]:
    timings = found.timings
    return {
        **asdict(found.policy),
        "precision": found.precision,
        "compiled": found.compiled,
        "device": found.device,
        "baseline": {"layout": found.baseline_layout, "precision": found.baseline_precision},
        "images": {"split": split, "count": images},
        "threads": found.threads,
        "chunks": list(found.chunks),
        "exit_shares": list(found.exit_rates),
        "gflops": found.gflops,
        "plain_gflops": found.backbone_gflops,
        "full_gflops": found.full_gflops,
        "executed": {"gflops": found.executed_gflops, "table_gflops": found.table_gflops},
        "latency": {name: asdict(each) for name, each in timings.latency.items()},
        "batches": {
            str(size): {
                name: {
                    "median_s": each.median_s,
                    "images_per_second": each.images_per_second,
                    "over_plain": timings.ratio(size, name, PLAIN),
                    "over_backbone": timings.ratio(size, name, BACKBONE),
                    "spread": each.spread,
                }
                for name, each in batch.items()
            }
            for size, batch in timings.batches.items()
        },
        "joules_an_image": dict(found.joules_per_image),
        "meter": found.meter,
        "spread": timings.spread,
        "noisy": timings.noisy,
    }


def _blocks(model: str, found: BenchResult) -> list[Table | str]:
    timings, compiled = found.timings, ", compiled" if found.compiled else ""
    blocks: list[Table | str] = [
        f"{model}; {found.precision}{compiled} on {found.device}, {found.threads} threads; chunks "
        f"{', '.join(map(str, found.chunks))}",
        f"{SHOWN[PLAIN]}: NCHW in float32; {SHOWN[BACKBONE]}: {found.baseline_layout} in {found.baseline_precision}, "
        "the engine's",
        "single images:",
        _latency_table(found),
        "images per second, by batch size:",
        _batch_table(found, lambda size, name: f"{timings.batches[size][name].images_per_second:.0f}"),
        f"time over that of the {SHOWN[BACKBONE]}, by batch size:",
        _batch_table(found, lambda size, name: f"{timings.ratio(size, name, BACKBONE):.3f}"),
        *_savings(found),
    ]
    if found.executed_gflops is not None:
        blocks.append(
            f"convolutions and matrix products: {found.executed_gflops:.4f} GFLOPs per image ran, "
            f"{found.table_gflops:.4f} by the table"
        )
    if timings.noisy:
        blocks.append(
            f"timings are noisy (rounds differ by up to {100 * timings.spread:.0f} % of their median): repeat with "
            "nothing else running"
        )
    return [*blocks, found.meter]


def _savings(found: BenchResult) -> list[str]:
    size = found.timings.largest_batch
    rates = ", ".join(f"{100 * rate:.1f}" for rate in found.exit_rates)

    def saved(name: str, other: str) -> str:
        return _percent_saved(found.timings.ratio(size, name, other))

    return [
        f"{found.policy}; exit rates: {rates} %",
        f"saving over the backbone: {_percent_saved(found.gflops / found.backbone_gflops)} predicted by FLOPs, "
        f"{saved(POLICY, BACKBONE)} measured at batch {size} over the {SHOWN[BACKBONE]}",
        f"measured at batch {size}, one after the other: layout and precision save {saved(BACKBONE, PLAIN)}, folding "
        f"and packing {saved(NO_EARLY_EXIT, BACKBONE)} (the heads run besides), early exits "
        f"{saved(POLICY, NO_EARLY_EXIT)} ({_percent_saved(found.gflops / found.full_gflops)} predicted by FLOPs)",
    ]


def _percent_saved(ratio: float) -> str:
    return f"{100 * (1 - ratio):.0f} %"


def _latency_table(found: BenchResult) -> Table:
    rows = []
    for name, each in found.timings.latency.items():
        joules = found.joules_per_image[name]
        times = [f"{1000 * seconds:.2f}" for seconds in (each.p50_seconds, each.p95_seconds, each.p99_seconds)]
        rows.append([SHOWN[name], *times, "" if joules is None else f"{joules:.3f}"])
    return Table(["contender", "p50 (ms)", "p95 (ms)", "p99 (ms)", "J per image"], rows)


def _batch_table(found: BenchResult, cell: Callable[[int, str], str]) -> Table:
    sizes = list(found.timings.batches)
    rows = [[SHOWN[name], *(cell(size, name) for size in sizes)] for name in found.timings.latency]
    return Table(["contender", *map(str, sizes)], rows)
