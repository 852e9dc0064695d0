"""Early exit against the static family: every fixed choice that could be deployed in its place, and mixes of them.

A network with exits has to be better than the same backbone at another image size, a smaller sister, or one of its own
exits alone. What those reach together is the upper concave hull of their points, as each image may be given to one of
them at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.exits.baselines import (
    FixedExits,
    FoundAdvantage,
    advantage_band,
    cost_on_mixture,
    gains_over_mixture,
    largest_advantage,
)
from greenedge.exits.bootstrap import Estimate, Interval, ResampledCurve, interval
from greenedge.exits.sweep import Sweep

HALF_A_POINT = 0.005


@dataclass(frozen=True, eq=False)
class StaticChoice:
    """A network without early exit.

    Attributes:
        name: what people call it.
        gflops: per image.
        correct: bool (N,), whether it is right on each image.
    """

    name: str
    gflops: float
    correct: np.ndarray

    def __repr__(self) -> str:
        return f"StaticChoice({self})"

    def __str__(self) -> str:
        """`lite0-96 (69.51 % at 0.0733 GFLOPs)`."""
        return f"{self.name} ({100 * self.accuracy:.2f} % at {self.gflops:.4f} GFLOPs)"

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return float(self.correct.mean())


@dataclass(frozen=True, eq=False, repr=False)
class StaticVerdict:
    """What a curve gives over the static family.

    Attributes:
        choices: the family: each exit alone, the backbone without exits, and the networks that were named.
        num_exits: E, how many of them are the network's own.
        advantage: where the curve lies furthest above the hull.
        accuracy: of the curve there, in [0, 1].
        saving: how much less that costs than the hull asks for the same accuracy, or for its own best where that is
            less, as a share of the latter; None where the curve lies nowhere above the hull.
        above: (from, to) in GFLOPs, between which every point of the curve is above the hull beyond doubt.
        near_backbone_gflops: the least cost at which the curve is at most half a point below the backbone; None: never.
    """

    choices: tuple[StaticChoice, ...]
    num_exits: int
    advantage: FoundAdvantage
    accuracy: float
    saving: Estimate | None
    above: tuple[tuple[float, float], ...]
    near_backbone_gflops: float | None

    def __repr__(self) -> str:
        largest = self.advantage.largest
        return f"StaticVerdict({100 * largest.accuracy:+.2f} points at {largest.gflops:.4f} GFLOPs, pays: {self.pays})"

    @property
    def pays(self) -> bool:
        """Beyond doubt above the hull somewhere, and cheaper than the backbone within half a point of it."""
        near = self.near_backbone_gflops
        return self.advantage.pays and near is not None and near < self.backbone.gflops

    @property
    def backbone(self) -> StaticChoice:
        """The network itself, without exits."""
        return self.choices[self.num_exits - 1]

    @property
    def named(self) -> tuple[StaticChoice, ...]:
        """The other networks."""
        return self.choices[self.num_exits :]

    @property
    def instead(self) -> StaticChoice:
        """The most accurate choice that costs no more than the backbone; of equals the cheapest."""
        affordable = [choice for choice in self.choices if choice.gflops <= self.backbone.gflops]
        return max(affordable, key=lambda choice: (choice.accuracy, -choice.gflops))


def exits_alone(correct: np.ndarray, standalone_gflops: Sequence[float] | np.ndarray) -> list[StaticChoice]:
    """Each exit of a network as the only one, the backbone without exits last.

    Args:
        correct: bool (E, N), whether each exit is right by itself.
        standalone_gflops: (E,), of each exit if it were the only one.
    """
    names = [*(f"exit {index + 1} alone" for index in range(len(correct) - 1)), "the backbone without exits"]
    return [
        StaticChoice(name, float(gflops), right)
        for name, gflops, right in zip(names, standalone_gflops, correct, strict=True)
    ]


def fixed_exits(choices: Sequence[StaticChoice], weights: np.ndarray) -> FixedExits:
    """The choices' accuracies on N images and on the resamples (B, N)."""
    correct = np.stack([choice.correct for choice in choices])
    gflops = np.array([choice.gflops for choice in choices])
    return FixedExits(gflops, correct.mean(axis=1), weights @ correct.T.astype(np.float32))


def judge_against_static(
    curve: Sweep,
    resampled: ResampledCurve,
    choices: Sequence[StaticChoice],
    weights: np.ndarray,
    confidence: float = 0.95,
) -> StaticVerdict:
    """Sets a curve beside the hull of static choices; all intervals are paired, over the same resamples.

    Args:
        curve: P points of a network with exits.
        resampled: the same points on B resamples.
        choices: each of the network's exits alone, its backbone without exits last of these, and then the others, on
            the same N images.
        weights: float32 (B, N), the resamples.
        confidence: of the intervals. That of the advantage holds for all points at once.
    """
    fixed = fixed_exits(choices, weights)
    band = advantage_band(curve, resampled, fixed, confidence)
    largest = largest_advantage(curve.gflops, curve.accuracy, fixed.gflops, fixed.accuracy)
    place = int(np.nanargmax(band.found))
    num_exits = curve.exit_shares.shape[1]
    near = curve.gflops[curve.accuracy >= choices[num_exits - 1].accuracy - HALF_A_POINT]
    return StaticVerdict(
        choices=tuple(choices),
        num_exits=num_exits,
        advantage=FoundAdvantage(largest, Interval(band.low, band.high)),
        accuracy=float(curve.accuracy[place]),
        saving=_saving(curve, resampled, fixed, place) if largest.accuracy > 0 else None,
        above=_ranges(curve.gflops, band.found > band.reach_below),
        near_backbone_gflops=float(near.min()) if len(near) else None,
    )


def above_static(
    correct: np.ndarray, gflops: np.ndarray, choices: Sequence[StaticChoice], weights: np.ndarray
) -> Estimate:
    """Of one policy chosen on other images: its accuracy minus the hull's at its mean cost, with a 95 % interval.

    Args:
        correct: bool (N,), whether it is right on each image.
        gflops: float (N,), spent on each.
        choices: the static ones, on the same images; the interval is paired.
        weights: float32 (B, N), the resamples.
    """
    costs = np.array([choice.gflops for choice in choices])
    columns = np.stack([correct, gflops, *(choice.correct for choice in choices)], axis=1).astype(np.float64)

    def above(means: np.ndarray) -> np.ndarray:
        return gains_over_mixture(means[:, :1], means[:, 1:2], costs, means[:, 2:])[:, 0]

    (found,) = above(columns.mean(axis=0, keepdims=True))
    return Estimate(float(found), interval(above(weights.astype(np.float64) @ columns)))


def _saving(curve: Sweep, resampled: ResampledCurve, fixed: FixedExits, place: int) -> Estimate:
    """How much less a point costs than the hull asks for its accuracy, or for its own best where that is less."""

    def saved(accuracy: float, gflops: float, accuracies: np.ndarray) -> float:
        static = cost_on_mixture(min(accuracy, float(accuracies.max())), fixed.gflops, accuracies)
        assert static is not None
        return 1 - gflops / static

    columns = (resampled.accuracy[:, place].tolist(), resampled.gflops[:, place].tolist(), fixed.resampled)
    values = np.array([saved(*row) for row in zip(*columns, strict=True)])
    return Estimate(saved(float(curve.accuracy[place]), float(curve.gflops[place]), fixed.accuracy), interval(values))


def _ranges(gflops: np.ndarray, inside: np.ndarray) -> tuple[tuple[float, float], ...]:
    """The ranges of cost in which all points are inside."""
    order = np.argsort(gflops)
    costs, flags = gflops[order], inside[order]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return tuple(
        (float(costs[start]), float(costs[end - 1])) for start, end in zip(edges[::2], edges[1::2], strict=True)
    )
