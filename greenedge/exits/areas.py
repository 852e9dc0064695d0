"""The area of an accuracy/energy curve, in two definitions.

The scoring script of the competition is not public, so neither is claimed to be it.
"""

from __future__ import annotations

import numpy as np


def trapezoid_area(gflops: np.ndarray, accuracy: np.ndarray) -> float:
    """The area under straight lines between neighbouring points, in % x GFLOPs.

    With the points sorted by cost g_1 <= g_2 <= ... and accuracies a_k in percent:
    A = sum over k of (g_{k+1} - g_k) (a_k + a_{k+1}) / 2.
    It grows with the range of costs that the points span, so it compares sets of like range only.

    Args:
        gflops: float (P,), mean cost of each point.
        accuracy: float (P,), in [0, 1].
    """
    order = np.lexsort((accuracy, gflops))
    return float(np.trapezoid(100 * accuracy[order], gflops[order]))


def dominated_area(gflops: np.ndarray, accuracy: np.ndarray, reference_gflops: float) -> float:
    """The area dominated by the Pareto front up to a reference cost, in % x GFLOPs (a hypervolume).

    D = integral over g from 0 to R of max {a_k in percent : g_k <= g}, where the maximum over nothing is 0. A cheaper
    or a more accurate point never lowers it. Points dearer than R count for nothing.

    Args:
        gflops: float (P,), mean cost of each point.
        accuracy: float (P,), in [0, 1].
        reference_gflops: R.
    """
    inside = gflops <= reference_gflops
    costs, accuracies = gflops[inside], accuracy[inside]
    order = np.argsort(costs)
    steps = np.append(costs[order], reference_gflops)
    return float(np.sum(np.diff(steps) * 100 * np.maximum.accumulate(accuracies[order])))


def pareto_front(gflops: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """int64 (K,): the points that no other one equals or beats in both cost and accuracy, by rising cost."""
    order = np.lexsort((-accuracy, gflops))
    best = np.maximum.accumulate(accuracy[order])
    better = np.append(True, best[1:] > best[:-1])
    return order[better] if len(order) else order


def curve_range(gflops: np.ndarray, accuracy: np.ndarray) -> str:
    """`7 points, 0.0518 to 0.1459 GFLOPs, accuracy 0.8012 to 0.9170`, of points (P,), (P,)."""
    if not len(gflops):
        return "0 points"
    costs = f"{gflops.min():.4g} to {gflops.max():.4g} GFLOPs"
    return f"{len(gflops)} points, {costs}, accuracy {accuracy.min():.4f} to {accuracy.max():.4f}"
