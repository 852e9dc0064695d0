"""What `greenedge bench` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenedge.exits.policy import ExitPolicy
from greenedge.reporting.tables import format_table

PLAIN, BACKBONE = "plain network", "backbone, best layout, same precision"
NONE_LEAVES, POLICY = "engine, none leaves", "engine, policy"


def bench_text(title: str, policy: ExitPolicy, result: dict[str, Any], folder: Path) -> str:
    """The tables and sentences of a result."""
    sizes = list(result["batches"])
    names = list(result["latency"])
    largest = max(sizes, key=int)
    timed = {name: result["batches"][largest][name]["median_s"] for name in names}
    executed = result["executed"]
    lines = [
        f"{title}; {result['precision']}{', compiled' if result['compiled'] else ''} on {result['device']}, "
        f"{result['threads']} threads; chunks {', '.join(map(str, result['chunks']))}",
        f"{PLAIN}: the backbone as trained, NCHW in float32; {BACKBONE}: {result['baseline']['layout']} in "
        f"{result['baseline']['precision']}",
        "",
        "single images",
        _latency_table(names, result),
        "",
        "images per second, at each batch size",
        _table_of(names, sizes, result, "images_per_second", "{:.0f}"),
        "",
        f"time over that of the {BACKBONE}, at each batch size",
        _table_of(names, sizes, result, "over_backbone", "{:.3f}"),
        "",
        f"{policy}; leaving at the exits: {_percent(result['exit_shares'])} %",
        f"saving against the plain network: {_saved(result['gflops'] / result['plain_gflops'])} promised by GFLOPs; "
        f"against the {BACKBONE}: {_saved(timed[POLICY] / timed[BACKBONE])} measured at batch {largest}",
        f"measured at batch {largest}, one after the other: layout and precision save "
        f"{_saved(timed[BACKBONE] / timed[PLAIN])}, folding and packing {_saved(timed[NONE_LEAVES] / timed[BACKBONE])} "
        f"(the heads are run besides), early exits {_saved(timed[POLICY] / timed[NONE_LEAVES])} "
        f"({_saved(result['gflops'] / result['full_gflops'])} promised)",
    ]
    if executed["gflops"] is not None:
        lines.append(
            f"convolutions and matrix products: {executed['gflops']:.4f} GFLOPs an image ran, "
            f"{executed['table_gflops']:.4f} by the table"
        )
    if result["noisy"]:
        lines.append(
            f"timings are noisy (rounds differ by up to {100 * result['spread']:.0f} % of their median): repeat with "
            "nothing beside it"
        )
    return "\n".join([*lines, result["meter"], f"table and figure: {folder / 'bench'}.csv, .json and .png"])


def _latency_table(names: Sequence[str], result: dict[str, Any]) -> str:
    rows = []
    for name in names:
        single, joules = result["latency"][name], result["joules_an_image"][name]
        times = [f"{1000 * single[f'p{percent}_seconds']:.2f}" for percent in (50, 95, 99)]
        rows.append([name, *times, "" if joules is None else f"{joules:.3f}"])
    return format_table(["contender", *(f"p{percent} (ms)" for percent in (50, 95, 99)), "J an image"], rows)


def _table_of(names: Sequence[str], sizes: Sequence[str], result: dict[str, Any], key: str, form: str) -> str:
    rows = [[name, *(form.format(result["batches"][size][name][key]) for size in sizes)] for name in names]
    return format_table(["contender", *sizes], rows)


def _percent(shares: Sequence[float]) -> str:
    return ", ".join(f"{100 * share:.1f}" for share in shares)


def _saved(ratio: float) -> str:
    return f"{100 * (1 - ratio):.0f} %"
