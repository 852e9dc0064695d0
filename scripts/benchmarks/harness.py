"""Times contenders in turns and prints medians and ratios, for every benchmark here."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping

from greenedge.cost import latency
from greenedge.reporting.tables import format_table


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Builds a parser with the options that all benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=rounds, help="timings of each contender")
    made.add_argument("--json", action="store_true", help="print JSON alone on standard output")
    return made


def time_interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, float]:
    """Returns the median seconds of each contender, by `greenedge.cost.latency.time_interleaved`."""
    timings = latency.time_interleaved(contenders, rounds, before)
    return {name: statistics.median(values) for name, values in timings.items()}


def report(*contests: Mapping[str, float], images: int | None = None, as_json: bool) -> None:
    """Prints each median, the images per second where a round has `images`, and all ratios of times.

    Contenders are compared within their own contest only.
    """
    if as_json:
        result = {
            name: {"median_s": median, "ratio_to": {other: median / medians[other] for other in medians}}
            for medians in contests
            for name, median in medians.items()
        }
        print(json.dumps(result, indent=2))
        return
    print("\n\n".join(_table(medians, images) for medians in contests))


def _table(medians: Mapping[str, float], images: int | None) -> str:
    rates = {name: f"{images / median:.0f}" if images else "" for name, median in medians.items()}
    rows = [
        [name, f"{median:.4f}", rates[name], *(f"{median / other:.3f}" for other in medians.values())]
        for name, median in medians.items()
    ]
    headers = ["contender", "median (s)", "images/s", *(f"time over {other}" for other in medians)]
    return format_table(headers, rows)
