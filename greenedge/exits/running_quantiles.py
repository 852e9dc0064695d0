"""Limits that follow the images: running quantiles, which keep the exit rates whatever becomes of the uncertainties.

A policy's limits were chosen on calibration images. Where images shift, uncertainties do too, other shares of them
exit, and the mean cost is another. Here the limit of an exit is, for each image that reaches it, a quantile of the
uncertainties of the images that reached it before: with n of them, the k-th smallest, k = floor(q (n + 1)), where q is
the share of those reaching the exit that exited there on the calibration images. Of images in random order, the next
one lies below it with a chance of k / (n + 1), so that the rate is kept to within 1 / (n + 1), less what ties take. No
label is needed.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

import numpy as np

from greenedge.exits.confidence import Criterion
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep import ExitScores, OperatingPoint

WARM_UP = 100  # images that an exit takes by the policy's own limit, before its quantiles tell enough
_ROUNDING = 1e-9


def rates_of_arrivals(exits: np.ndarray, num_exits: int) -> np.ndarray:
    """float64 (E-1,): of the images that reach each early exit, the share that exits there; 0 where none does.

    Args:
        exits: int64 (N,), the exit of each image, counted from 0.
        num_exits: E.
    """
    counts = np.bincount(exits, minlength=num_exits)
    arrivals = counts[::-1].cumsum()[::-1]
    rates: np.ndarray = counts[:-1] / np.maximum(arrivals[:-1], 1)
    return rates


def hold_rates(
    uncertainty: np.ndarray, rates: np.ndarray, limits: Sequence[float], warm_up: int = WARM_UP
) -> np.ndarray:
    """Routes images one after the other, by running quantiles.

    Args:
        uncertainty: float64 (E-1, N), of the images in the order in which they come.
        rates: float64 (E-1,), of `rates_of_arrivals`.
        limits: of the policy, by which each exit takes the first `warm_up` images that reach it.
        warm_up: that number.

    Returns:
        int64 (N,): where each image exits, counted from 0.
    """
    early_exits, images = uncertainty.shape
    seen: list[list[float]] = [[] for _ in range(early_exits)]
    taken = np.full(images, early_exits)
    for image in range(images):
        for exit_index in range(early_exits):
            value, before = float(uncertainty[exit_index, image]), seen[exit_index]
            limit = limits[exit_index] if len(before) < warm_up else _quantile(before, float(rates[exit_index]))
            insort(before, value)
            if value < limit:
                taken[image] = exit_index
                break
    return taken


def held_point(scores: ExitScores, policy: ExitPolicy, rates: np.ndarray, order: np.ndarray) -> OperatingPoint:
    """What a network does with a policy's limits replaced by running quantiles.

    Args:
        scores: of N images, by the policy's criterion.
        policy: its limits count during the warm-up.
        rates: float64 (E-1,), to keep.
        order: int64 (N,), a permutation: how the images come.
    """
    taken = np.empty(len(order), dtype=np.int64)
    taken[order] = hold_rates(scores.uncertainty[:, order], rates, policy.uncertainty_limits)
    shares = np.bincount(taken, minlength=scores.num_exits) / len(taken)
    accuracy = float(scores.correct[taken, np.arange(len(taken))].mean())
    return OperatingPoint(policy.thresholds, accuracy, tuple(shares.tolist()), float(shares @ scores.gflops))


def is_continuous(criterion: Criterion) -> bool:
    """Whether hardly two scores are equal; those of patience are counts, and have no quantile between them."""
    return criterion.unit != "exits in agreement"


def _quantile(before: Sequence[float], rate: float) -> float:
    """The k-th smallest, k = floor(rate (n + 1)); nothing lies below the 0-th, and everything below the last."""
    place = math.floor(rate * (len(before) + 1) + _ROUNDING)
    if place == 0:
        return -math.inf
    return before[place - 1] if place <= len(before) else math.inf
