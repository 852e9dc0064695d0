"""Which differences between networks on the same images are more than chance, though many were looked at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.exits.areas import dominated_area
from greenedge.exits.baselines import FixedExits, FoundAdvantage, find_advantage
from greenedge.exits.bootstrap import (
    Interval,
    ResampledCurve,
    bootstrap_points,
    difference_interval,
    simultaneous_intervals,
    varies,
)
from greenedge.exits.sweep import ExitScores, Sweep, sweep_all

_POINTS = 101
_ROUNDING = 1e-6  # of float32 means over images


@dataclass(frozen=True, eq=False)
class ResampledNetwork:
    """A network's curve over a shared threshold, on N images and on B resamples of them.

    Attributes:
        curve: points evenly spaced in cost.
        resampled: the same points on each resample.
        exit_accuracies: float64 (E,), in [0, 1].
        resampled_exits: float32 (B, E).
        right: bool (N,), whether the final exit is.
    """

    curve: Sweep
    resampled: ResampledCurve
    exit_accuracies: np.ndarray
    resampled_exits: np.ndarray
    right: np.ndarray

    def __repr__(self) -> str:
        """The shape, and the accuracy of each exit."""
        accuracies = ", ".join(f"{each:.4f}" for each in self.exit_accuracies)
        return f"ResampledNetwork({len(self.right)} images, accuracy [{accuracies}], {self.resampled})"

    def is_same_as(self, other: ResampledNetwork) -> bool:
        """Whether both gave the same scores, and so are one network, as far as scores of early exits can tell."""
        ours, theirs = self.curve.thresholds, other.curve.thresholds
        return (
            len(self.exit_accuracies) > 1
            and np.array_equal(ours, theirs)
            and np.array_equal(self.right, other.right)
            and np.array_equal(self.resampled.accuracy, other.resampled.accuracy)
        )

    def advantage(self, standalone_gflops: np.ndarray, confidence: float = 0.95) -> FoundAdvantage:
        """Over each exit alone, at costs (E,)."""
        fixed = FixedExits(standalone_gflops, self.exit_accuracies, self.resampled_exits)
        return find_advantage(self.curve, self.curve, self.resampled, fixed, confidence)


@dataclass(frozen=True)
class Difference:
    """One network less another in one measure.

    Attributes:
        value: on the images.
        interval: 95 %, for this difference alone.
        joint_interval: with 95 % chance it and those of all other pairs and measures hold at once.
        first_is_better: share of the resamples on which the first has more, equal ones counting half.
    """

    value: float
    interval: Interval
    joint_interval: Interval
    first_is_better: float

    @property
    def real(self) -> bool:
        """Whether it is more than chance, as one of all the differences that were looked at."""
        return not self.joint_interval.low <= 0 <= self.joint_interval.high


@dataclass(frozen=True)
class Pair:
    """The first network less the second, by their places.

    Attributes:
        first: place of the one.
        second: place of the other.
        accuracy: of the final exit, in [0, 1].
        dominated_area: in % x GFLOPs.
    """

    first: int
    second: int
    accuracy: Difference
    dominated_area: Difference


def resample_network(scores: ExitScores, shares: np.ndarray) -> ResampledNetwork:
    """A network on the resamples (B, N) of `bootstrap_weights`."""
    whole = sweep_all(scores)
    curve = whole.rows(whole.spread(_POINTS))
    thresholds = [(each,) * (scores.num_exits - 1) for each in curve.thresholds.tolist()]
    return ResampledNetwork(
        curve,
        bootstrap_points(scores, thresholds, shares),
        scores.correct.mean(axis=1),
        shares @ scores.correct.T.astype(np.float32),
        scores.correct[-1],
    )


def compare_pairs(
    networks: Sequence[ResampledNetwork], reference_gflops: float, confidence: float = 0.95
) -> list[Pair]:
    """Every pair's differences; of several looked at, some look real by chance, so all are judged together.

    Args:
        networks: on the same images and resamples.
        reference_gflops: up to which the dominated area counts.
        confidence: of all intervals.
    """
    areas = [dominated_area(each.curve.gflops, each.curve.accuracy, reference_gflops) for each in networks]
    resampled_areas = [each.resampled.dominated_areas(reference_gflops) for each in networks]
    largest = (1.0, 100 * reference_gflops)
    images = len(networks[0].right)
    pairs = list(itertools.combinations(range(len(networks)), 2))

    found, resampled = [], []
    for first, second in pairs:
        a, b = networks[first], networks[second]
        found += [float(a.exit_accuracies[-1] - b.exit_accuracies[-1]), areas[first] - areas[second]]
        resampled += [
            a.resampled_exits[:, -1] - b.resampled_exits[:, -1],
            resampled_areas[first] - resampled_areas[second],
        ]
    joint = simultaneous_intervals(np.array(found), np.stack(resampled, axis=1), confidence)

    each_alone = 1 - (1 - confidence) / len(found)  # for those whose resamples all agree
    differences = []
    for place, (value, values, together) in enumerate(zip(found, resampled, joint, strict=True)):
        first, second = pairs[place // 2]
        if networks[first].is_same_as(networks[second]):
            differences.append(Difference(0.0, Interval(0.0, 0.0), Interval(0.0, 0.0), 0.5))
            continue
        limit = largest[place % 2]
        alone = difference_interval(values, images, confidence, limit)
        cautious = alone if varies(values, limit) else difference_interval(values, images, each_alone, limit)
        differences.append(Difference(value, alone, _widest(cautious, together), _share_above(values)))
    return [
        Pair(first, second, accuracy, area)
        for (first, second), accuracy, area in zip(pairs, differences[::2], differences[1::2], strict=True)
    ]


def _widest(first: Interval, second: Interval) -> Interval:
    return Interval(min(first.low, second.low), max(first.high, second.high))


def _share_above(differences: np.ndarray) -> float:
    equal = np.abs(differences) < _ROUNDING
    return float((differences[~equal] > 0).sum() + equal.sum() / 2) / len(differences)
