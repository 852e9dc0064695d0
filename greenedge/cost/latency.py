"""Times contenders so that they can be compared: they take turns in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Latency:
    """Percentiles of the time of one prediction.

    Attributes:
        p50_seconds: half of the predictions are faster.
        p95_seconds: 95 % of them are faster.
        p99_seconds: 99 % of them are faster.
    """

    p50_seconds: float
    p95_seconds: float
    p99_seconds: float


def time_interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, list[float]]:
    """Times each contender in each round, in seconds; they take turns, and a first round is not counted.

    Every other round runs backwards, so that no contender always follows the same other one, which may leave caches in
    a state that helps or hinders it. A GPU is synchronized before and after each turn.

    Args:
        contenders: name -> function to time.
        rounds: how many are counted.
        before: name -> function that is called, untimed, before each turn of that contender.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        turns = list(contenders.items())
        for name, run in turns if number % 2 else reversed(turns):
            if before is not None:
                before[name]()
            synchronize()
            started = time.perf_counter()
            run()
            synchronize()
            if number > 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def latency(seconds: list[float]) -> Latency:
    """Returns the percentiles of single timings."""
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]).tolist()
    return Latency(p50, p95, p99)


def synchronize() -> None:
    """Waits for what a GPU still has to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
