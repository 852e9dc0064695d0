"""What early exit is to be measured against: fixed exits, a mix of them, and an oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import OperatingPoint


@dataclass(frozen=True)
class Advantage:
    """The place of a curve that lies furthest above what fixed exits give at the same cost.

    Attributes:
        accuracy: of the curve there less that of the fixed exits, in [-1, 1].
        gflops: the cost there.
    """

    accuracy: float
    gflops: float


def oracle_point(outputs: ExitOutputs) -> OperatingPoint:
    """What an oracle reaches that leaves at the first exit that is right, and runs everything where none is."""
    correct = outputs.correct()
    taken = np.where(correct.any(axis=0), correct.argmax(axis=0), outputs.num_exits - 1)
    shares = np.bincount(taken, minlength=outputs.num_exits) / len(taken)
    return OperatingPoint((), float(correct.any(axis=0).mean()), tuple(shares.tolist()), float(shares @ outputs.gflops))


def fixed_mix(gflops: np.ndarray, alone_gflops: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """float64 (G,): the best expected accuracy at each cost without looking at the image.

    Each image is given to one exit, alone in its network, by lot: the upper concave hull of the fixed exits' points.
    NaN below the cheapest of them.

    Args:
        gflops: float (G,), costs asked for.
        alone_gflops: float (E,), of each exit if it were the only one.
        accuracies: float (E,), of each exit.
    """
    hull: list[tuple[float, float]] = []
    for cost, accuracy in sorted(zip(alone_gflops.tolist(), accuracies.tolist(), strict=True)):
        if hull and accuracy <= hull[-1][1]:
            continue  # dearer and no better
        while len(hull) > 1 and _rise(hull[-1], (cost, accuracy)) >= _rise(hull[-2], hull[-1]):
            hull.pop()
        if hull and hull[-1][0] == cost:
            hull.pop()
        hull.append((cost, accuracy))
    costs, heights = np.array(hull).T
    return np.where(gflops < costs[0] * (1 - 1e-9), np.nan, np.interp(gflops, costs, heights))


def largest_advantage(
    gflops: np.ndarray, accuracy: np.ndarray, alone_gflops: np.ndarray, accuracies: np.ndarray
) -> Advantage:
    """Where a curve (P,), (P,) lies furthest above the mix of fixed exits (E,), (E,)."""
    gains = accuracy - fixed_mix(gflops, alone_gflops, accuracies)
    best = int(np.nanargmax(gains))
    return Advantage(float(gains[best]), float(gflops[best]))


def _rise(low: tuple[float, float], high: tuple[float, float]) -> float:
    return (high[1] - low[1]) / (high[0] - low[0]) if high[0] > low[0] else np.inf
