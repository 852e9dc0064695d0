"""How far a number could differ on other images of the same kind: the bootstrap over images (Efron 1979).

Accuracies and mean costs are linear in the images, so all resamples of all points are one matrix product. Where all
resamples agree they tell nothing of other images; what can be said then comes from the number of images alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.sweep import ExitScores

_MANY, _MANY_OF_A_KIND = 200, 30  # images, and right or wrong ones among them, where percentiles can be relied on
_ROUNDING = 1e-6  # of float32 means over images


@dataclass(frozen=True)
class Interval:
    """An interval that contains the number for most other images of the same kind.

    Attributes:
        low: its lower end.
        high: its upper end.
    """

    low: float
    high: float

    @property
    def ends(self) -> list[float]:
        """Both, for JSON."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Estimate:
    """A number and how far it could differ on other images.

    Attributes:
        value: on the images.
        interval: 95 %.
    """

    value: float
    interval: Interval


@dataclass(frozen=True, eq=False)
class ResampledCurve:
    """Operating points on B resamples of the images.

    Attributes:
        accuracy: float32 (B, P), in [0, 1].
        gflops: float32 (B, P), mean over the images.
    """

    accuracy: np.ndarray
    gflops: np.ndarray

    def __repr__(self) -> str:
        """The shape."""
        resamples, points = self.accuracy.shape
        return f"ResampledCurve({points} points, {resamples} resamples)"

    def dominated_areas(self, reference_gflops: float) -> np.ndarray:
        """float64 (B,), in % x GFLOPs."""
        pairs = zip(self.gflops.astype(float), self.accuracy.astype(float), strict=True)
        return np.array([dominated_area(gflops, accuracy, reference_gflops) for gflops, accuracy in pairs])

    def trapezoid_areas(self) -> np.ndarray:
        """float64 (B,), in % x GFLOPs."""
        pairs = zip(self.gflops.astype(float), self.accuracy.astype(float), strict=True)
        return np.array([trapezoid_area(gflops, accuracy) for gflops, accuracy in pairs])

    def at_costs(self, gflops: np.ndarray) -> np.ndarray:
        """float64 (B, G): the best accuracy of each resample at no more than each cost; NaN where nothing is so cheap.

        Args:
            gflops: float (G,), rising.
        """
        found = np.full((len(self.accuracy), len(gflops)), np.nan)
        for row, (costs, accuracies) in enumerate(zip(self.gflops, self.accuracy, strict=True)):
            order = np.argsort(costs)
            best = np.maximum.accumulate(accuracies[order])
            # The resampled costs are float32, and may lie a rounding above the exact cost that is asked for.
            place = np.searchsorted(costs[order], gflops * (1 + 1e-6), side="right") - 1
            found[row] = np.where(place >= 0, best[np.maximum(place, 0)], np.nan)
        return found


def bootstrap_weights(images: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """float32 (B, N): how often each image is in each resample, over N; rows sum to 1.

    The same numbers for two networks make their comparison a paired one.
    """
    random = np.random.default_rng(seed)
    shares = np.empty((resamples, images), dtype=np.float32)
    for row in shares:
        row[:] = np.bincount(random.integers(0, images, images), minlength=images)
    return shares / images


def bootstrap_points(scores: ExitScores, thresholds: Sequence[Sequence[float]], shares: np.ndarray) -> ResampledCurve:
    """Operating points on every resample.

    Args:
        scores: of N images.
        thresholds: P times one for each early exit.
        shares: float32 (B, N), of `bootstrap_weights`.
    """
    outcomes = zip(*(scores.outcomes(each) for each in thresholds), strict=True)
    right, cost = (np.stack(each).astype(np.float32) for each in outcomes)
    return ResampledCurve(shares @ right.T, shares @ cost.T)


def interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """The percentile interval of resampled values (B,)."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def accuracy_interval(accuracy: float, images: int, resampled: np.ndarray, confidence: float = 0.95) -> Interval:
    """Of an accuracy: the percentile interval, or Wilson's (1927) where there are few images, or few of a kind.

    There the resamples are too much alike: 50 of 50 right are 100 % on each of them, though on other images 93 % would
    be no surprise.

    Args:
        accuracy: in [0, 1].
        images: N, that it is the mean of.
        resampled: float (B,), of `bootstrap_points`.
        confidence: in (0, 1).
    """
    right = accuracy * images
    if images >= _MANY and min(right, images - right) >= _MANY_OF_A_KIND:
        return interval(resampled, confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (right + z * z / 2) / (images + z * z)
    reach = z / (images + z * z) * math.sqrt(right * (1 - accuracy) + z * z / 4)
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def difference_interval(resampled: np.ndarray, images: int, confidence: float = 0.95, largest: float = 1.0) -> Interval:
    """Of a difference between two networks or policies on the same images.

    Where every resample says the same, all images do: two policies are right on the same ones, say. Images of another
    kind that make up a share p of the world are missing among N with a chance of (1 - p)^N; so p may be as large as
    1 - a^(1/N), with a half of one minus the confidence ("rule of three"), and may differ as much as can be.

    Args:
        resampled: float (B,), differences on the same resamples.
        images: N.
        confidence: in (0, 1).
        largest: difference that can be; 1 for accuracies.
    """
    found = interval(resampled, confidence)
    if varies(resampled, largest):
        return found
    unseen = 1 - ((1 - confidence) / 2) ** (1 / images)
    seen = (1 - unseen) * float(np.mean(resampled, dtype=np.float64))
    return Interval(seen - unseen * largest, seen + unseen * largest)


def varies(resampled: np.ndarray, largest: float = 1.0) -> bool:
    """Whether the resamples (B,) of a number differ by more than rounding; `largest` as in `difference_interval`."""
    return float(np.ptp(resampled)) > _ROUNDING * largest


def simultaneous_intervals(found: np.ndarray, resampled: np.ndarray, confidence: float = 0.95) -> list[Interval]:
    """Intervals that all hold at once with the chance `confidence`.

    Each is as wide as c of its own standard errors. The one c is what the largest of all deviations keeps to in that
    share of the resamples (the max-T of Westfall and Young 1993), but no less than Bonferroni's for normal deviations:
    of few images the resampled extremes are too small (8 equal networks: 8 % of draws are told apart at 100 images).

    Args:
        found: float (K,), numbers on the images.
        resampled: float (B, K), on each resample.
        confidence: in (0, 1).
    """
    errors = resampled.astype(np.float64).std(axis=0)
    vary = errors > _ROUNDING
    reach = 0.0
    if vary.any():
        deviations = np.abs(resampled[:, vary] - found[vary]) / errors[vary]
        normal = NormalDist().inv_cdf(1 - (1 - confidence) / (2 * int(vary.sum())))
        reach = max(normal, float(np.quantile(deviations.max(axis=1), confidence)))
    return [
        Interval(value - reach * error, value + reach * error)
        for value, error in zip(found.tolist(), errors.tolist(), strict=True)
    ]
