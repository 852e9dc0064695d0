"""Seconds, measured so that contenders can be compared: they take turns in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Latency:
    """How long single answers take.

    Attributes:
        p50_seconds: half are faster.
        p95_seconds: 95 % are faster.
        p99_seconds: 99 % are faster.
    """

    p50_seconds: float
    p95_seconds: float
    p99_seconds: float


def time_interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each contender in each round; all take turns, and a first round is not counted.

    Every other round goes backwards, so that none always follows the same other, whose traces it would feel. A GPU is
    waited for before and after each turn.

    Args:
        contenders: name -> what is timed.
        rounds: that are counted.
        before: name -> what is done, untimed, before each turn of that contender.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        turns = list(contenders.items())
        for name, run in turns if number % 2 else reversed(turns):
            if before is not None:
                before[name]()
            _wait()
            started = time.perf_counter()
            run()
            _wait()
            if number > 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def latency(seconds: list[float]) -> Latency:
    """The percentiles of single timings."""
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]).tolist()
    return Latency(p50, p95, p99)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
