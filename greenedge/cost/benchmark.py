"""Contenders timed in turns, on single images and at each batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
from torch import Tensor

from greenedge.cost.latency import Latency, latency, time_interleaved

Contenders = Mapping[str, Callable[[Tensor], object]]

IMAGES_PER_TURN = 64
# Timings are noisy where the middle half of a contender's rounds is wider than this share of their median, or a
# hundredth of the single images take so many times as long as half of them.
_NOISY, _NOISY_TAIL = 0.2, 3.0


@dataclass(frozen=True)
class Timing:
    """A contender at one batch size.

    Attributes:
        median_s: seconds per batch, the median over the rounds.
        images_per_second: at that median.
        spread: the middle half of the rounds over their median.
    """

    median_s: float
    images_per_second: float
    spread: float


@dataclass(frozen=True)
class Timings:
    """All contenders.

    Attributes:
        latency: name -> of single images.
        batches: images per batch -> name -> timing.
    """

    latency: Mapping[str, Latency]
    batches: Mapping[int, Mapping[str, Timing]]

    @property
    def largest_batch(self) -> int:
        """Images."""
        return max(self.batches)

    @property
    def spread(self) -> float:
        """The largest of all."""
        return max(each.spread for timings in self.batches.values() for each in timings.values())

    @property
    def noisy(self) -> bool:
        """Whether the rounds differ so much that they should be repeated."""
        tails = [each.p99_seconds / each.p50_seconds for each in self.latency.values()]
        return self.spread > _NOISY or max(tails) > _NOISY_TAIL

    def ratio(self, size: int, name: str, other: str) -> float:
        """The median time of one contender over that of another at a batch size."""
        return self.batches[size][name].median_s / self.batches[size][other].median_s


def time_contenders(
    contenders: Contenders,
    images: Tensor,
    batches: Sequence[int],
    *,
    rounds: int,
    singles: int,
    count: Callable[[], object],
) -> Timings:
    """Times all contenders in turns.

    Args:
        contenders: name -> from images to anything.
        images: at least as many as the largest batch.
        batches: images per batch.
        rounds: timings of each contender at each batch size.
        singles: single images timed for the latency.
        count: called at each turn.
    """
    single_seconds = time_single_images(contenders, images[:singles], count)
    found = {}
    for size in batches:
        seconds = time_batches(contenders, images, size, rounds, count)
        found[size] = {name: _timing(each, size) for name, each in seconds.items()}
    return Timings({name: latency(each) for name, each in single_seconds.items()}, found)


def time_single_images(contenders: Contenders, images: Tensor, count: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of single images, contender after contender for each image."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    before = dict.fromkeys(contenders, count)
    for number in range(len(images)):
        turns = {name: partial(run, images[number : number + 1]) for name, run in contenders.items()}
        for name, seconds in time_interleaved(turns, 1, before).items():
            found[name] += seconds
    return found


def time_batches(
    contenders: Contenders, images: Tensor, size: int, rounds: int, count: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds of a batch in each round; a turn has several small batches, since single images are easy or hard."""
    batches = [images[start : start + size] for start in range(0, max(size, IMAGES_PER_TURN) - size + 1, size)]

    def run_all(run: Callable[[Tensor], object]) -> None:
        for batch in batches:
            run(batch)

    turns = {name: partial(run_all, run) for name, run in contenders.items()}
    timed = time_interleaved(turns, rounds, dict.fromkeys(contenders, count))
    return {name: [each / len(batches) for each in seconds] for name, seconds in timed.items()}


def _timing(seconds: list[float], size: int) -> Timing:
    low, middle, high = np.percentile(seconds, [25, 50, 75]).tolist()
    return Timing(median(seconds), size / median(seconds), float((high - low) / middle))
