"""How far a number could differ on other images of the same kind: the bootstrap over images (Efron 1979).

Accuracies and mean costs are linear in the images, so all resamples of all points are one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.sweep import ExitScores


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low: its lower end.
        high: its upper end.
    """

    low: float
    high: float


@dataclass(frozen=True)
class ResampledCurve:
    """Operating points on B resamples of the images.

    Attributes:
        accuracy: float32 (B, P), in [0, 1].
        gflops: float32 (B, P), mean over the images.
    """

    accuracy: np.ndarray
    gflops: np.ndarray

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


def resample_shares(images: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """float32 (B, N): how often each image is in each resample, over N; rows sum to 1.

    The same numbers for two networks make their comparison a paired one.
    """
    random = np.random.default_rng(seed)
    shares = np.empty((resamples, images), dtype=np.float32)
    for row in shares:
        row[:] = np.bincount(random.integers(0, images, images), minlength=images)
    return shares / images


def resample_points(scores: ExitScores, thresholds: Sequence[Sequence[float]], shares: np.ndarray) -> ResampledCurve:
    """Operating points on every resample.

    Args:
        scores: of N images.
        thresholds: P times one for each early exit.
        shares: float32 (B, N), of `resample_shares`.
    """
    taken = np.stack([scores.exits_taken(each) for each in thresholds])
    right = scores.correct[taken, np.arange(taken.shape[1])].astype(np.float32)
    cost = scores.gflops.astype(np.float32)[taken]
    return ResampledCurve(shares @ right.T, shares @ cost.T)


def interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """The percentile interval of resampled values (B,)."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
