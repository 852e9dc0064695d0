"""The best accuracy at every cost, over one threshold for each early exit.

With E-1 thresholds the routings are products of "how far down each exit's sorted uncertainties": (N+1)^(E-1) of them.

- One early exit: all N+1, by sorting once.
- Two: exact. For each number of images gone at exit 1, the rest is the case of one early exit, a running sum along
  exit 2's order: N passes over N numbers.
- More: Pareto local search (Paquete, Chiarandini, Stuetzle 2004). A move sets one exit's threshold anew, all others
  as they are; all N+1 values of it are tried at once by one running sum. From the points of the shared threshold and
  of the exact front over each pair of neighbouring exits (the others never used), moves are made from points of the
  front until none of them finds a point that the front does not have. tests/exits/test_frontier.py has its gap to
  brute force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.exits.areas import curve_range, pareto_front
from greenedge.exits.sweep import ExitScores, sweep_all

_NEVER = -np.inf  # a limit on the uncertainty below which nothing lies
_PASSES = 12
_STARTS = 160  # points of the front that moves are made from in a pass, evenly spread along it
_PAIR_IMAGES = 1500  # of which the pairs' fronts are made where there are more exits than two early ones


@dataclass(frozen=True, eq=False)
class Frontier:
    """The points that no other thresholds equal or beat in both accuracy and cost, by rising cost.

    Attributes:
        thresholds: float64 (P, E-1), of each early exit, in the criterion's unit.
        accuracy: float64 (P,), in [0, 1].
        gflops: float64 (P,), mean over the images.
    """

    thresholds: np.ndarray
    accuracy: np.ndarray
    gflops: np.ndarray

    def __repr__(self) -> str:
        """The number of points and the ends of the curve."""
        early_exits = self.thresholds.shape[1]
        return f"Frontier({early_exits} thresholds, {curve_range(self.gflops, self.accuracy)})"

    def __len__(self) -> int:
        return len(self.gflops)

    def rows(self, chosen: np.ndarray | slice) -> Frontier:
        """Some of the points."""
        return Frontier(self.thresholds[chosen], self.accuracy[chosen], self.gflops[chosen])


def pareto_frontier(scores: ExitScores) -> Frontier:
    """The front over one threshold for each early exit: exact for up to two early exits, else by local search.

    Args:
        scores: of E exits on N images.
    """
    early_exits = scores.num_exits - 1
    if early_exits == 2:
        front = _front_of(_Candidates(scores), _pair_candidates(scores, 0, 1))
    else:
        front = shared_frontier(scores)
        if early_exits > 2:
            front = _searched(scores, front)
    return front


def shared_frontier(scores: ExitScores) -> Frontier:
    """The front over one threshold that all early exits share."""
    curve = sweep_all(scores)
    chosen = pareto_front(curve.gflops, curve.accuracy)
    thresholds = np.repeat(curve.thresholds[chosen, None], scores.num_exits - 1, axis=1)
    return Frontier(thresholds, curve.accuracy[chosen], curve.gflops[chosen])


class _Candidates:
    """Points found so far, (right, cost, limits), thinned to their front whenever they have grown."""

    def __init__(self, scores: ExitScores) -> None:
        self.scores = scores
        self.early_exits = scores.num_exits - 1
        self.right = np.zeros(0, dtype=np.int64)
        self.cost = np.zeros(0)
        self.limits = np.zeros((0, self.early_exits))
        self.waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.size = 0

    def add(self, right: np.ndarray, cost: np.ndarray, limits: np.ndarray) -> None:
        """Takes points in; int64 (P,), float64 (P,), float64 (P, E-1)."""
        keep = self._unbeaten(right, cost)
        if keep.any():
            self.waiting.append((right[keep], cost[keep], limits[keep]))
            self.size += int(keep.sum())
        if self.size > 20_000 + len(self.right):
            self.thin()

    def thin(self) -> None:
        """Keeps the front of all points."""
        if not self.waiting:
            return
        groups = [(self.right, self.cost, self.limits), *self.waiting]
        right, cost, limits = (np.concatenate(column) for column in zip(*groups, strict=True))
        front = pareto_front(cost, right)
        self.right, self.cost, self.limits = right[front], cost[front], limits[front]
        self.waiting, self.size = [], 0

    def _unbeaten(self, right: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Which points lie above the front as it was last thinned."""
        if not len(self.right):
            return np.ones(len(right), dtype=bool)
        place = np.searchsorted(self.cost, cost, side="right") - 1
        unbeaten: np.ndarray = (place < 0) | (right > self.right[np.maximum(place, 0)])
        return unbeaten


def _front_of(found: _Candidates, candidates: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Frontier:
    for right, cost, limits in candidates:
        found.add(right, cost, limits)
    found.thin()
    criterion = found.scores.criterion
    never = criterion.uncertainty_limit(criterion.never_exit_threshold)
    thresholds = criterion.threshold_of(np.where(found.limits == _NEVER, never, found.limits))
    return Frontier(thresholds, found.right / found.scores.correct.shape[1], found.cost)


def _line(uncertainty: np.ndarray, order: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All thresholds of one exit, the rest being fixed.

    Args:
        uncertainty: float64 (N,), of this exit.
        order: int64 (n,): the images that reach it, by rising uncertainty.
        gain: int64 (N,): +1, 0 or -1: right here less right where it would go otherwise.

    Returns:
        how many exit here (none first), what that adds to the correct predictions, and the limit that does it: each
        (K,).
    """
    sorted_uncertainty = uncertainty[order]
    last_of_ties = (
        np.append(sorted_uncertainty[1:] > sorted_uncertainty[:-1], True) if len(order) else np.zeros(0, bool)
    )
    counts = np.append(0, np.flatnonzero(last_of_ties) + 1)
    gains = np.append(0, np.cumsum(gain[order]))[counts]
    # A limit that lets exactly the first k exit: the next image's value, or a little more than the last one's.
    limits = np.append(_NEVER, np.append(sorted_uncertainty[1:], np.inf)[counts[1:] - 1])
    if len(order):
        limits[-1] = np.nextafter(sorted_uncertainty[-1], np.inf)
    return counts, gains, limits


def _pair_candidates(
    scores: ExitScores, first: int, second: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Every routing by two early exits' thresholds, the others never used, less what is beaten within its line."""
    correct = scores.correct.astype(np.int64)
    count = correct.shape[1]
    costs = scores.gflops
    gain_first, gain_second = correct[first] - correct[-1], correct[second] - correct[-1]
    order_first = np.argsort(scores.uncertainty[first], kind="stable")
    order_second = np.argsort(scores.uncertainty[second], kind="stable")
    gone_first, gains_first, limits_first = _line(scores.uncertainty[first], order_first, gain_first)
    stays = np.ones(count, dtype=bool)
    final_right = correct[-1].sum()
    before = 0
    for gone, gains, limit in zip(gone_first.tolist(), gains_first.tolist(), limits_first.tolist(), strict=True):
        stays[order_first[before:gone]] = False
        before = gone
        order = order_second[stays[order_second]]
        counts, line_gains, line_limits = _line(scores.uncertainty[second], order, gain_second)
        right = final_right + gains + line_gains
        # The more exit, the cheaper: what is no better than some cheaper point of this line is beaten by it.
        best_cheaper = np.append(np.maximum.accumulate(right[::-1])[::-1][1:], -1)
        keep = np.flatnonzero(right > best_cheaper)
        limits = np.full((len(keep), scores.num_exits - 1), _NEVER)
        limits[:, first], limits[:, second] = limit, line_limits[keep]
        shares = np.array([gone, 0.0, count - gone]) / count
        cost = shares[0] * costs[first] + counts[keep] / count * (costs[second] - costs[-1]) + shares[2] * costs[-1]
        yield right[keep], cost, limits


def _searched(scores: ExitScores, start: Frontier) -> Frontier:
    """Pareto local search from the shared threshold's front and from those of pairs of neighbouring exits."""
    criterion = scores.criterion
    found = _Candidates(scores)
    starts = [criterion.uncertainty_limit(start.thresholds)]
    random = np.random.default_rng(0)  # a sample gives the pairs' shape; the search itself uses all images
    count = scores.correct.shape[1]
    few = scores.subset(np.sort(random.choice(count, min(count, _PAIR_IMAGES), replace=False)))
    for first in range(scores.num_exits - 2):
        pair = _front_of(_Candidates(few), _pair_candidates(few, first, first + 1))
        starts.append(criterion.uncertainty_limit(pair.thresholds))
    orders = [np.argsort(row, kind="stable") for row in scores.uncertainty]
    correct = scores.correct.astype(np.int64)
    tried: set[bytes] = set()
    for limits in starts:
        for point in limits[_evenly(len(limits), _STARTS // len(starts) + 1)]:
            for move in _moves(scores, correct, orders, point):
                found.add(*move)
    for _ in range(_PASSES):
        found.thin()
        fresh = [row for row in found.limits[_evenly(len(found.limits), _STARTS)] if row.tobytes() not in tried]
        if not fresh:
            break
        for point in fresh:
            tried.add(point.tobytes())
            for move in _moves(scores, correct, orders, point):
                found.add(*move)
    return _front_of(found, ())


def _moves(
    scores: ExitScores, correct: np.ndarray, orders: Sequence[np.ndarray], limits: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The points of every value of every single threshold, the others kept."""
    early_exits, count = scores.num_exits - 1, correct.shape[1]
    exits_here = scores.uncertainty < limits[:, None]
    reached = np.ones((early_exits, count), dtype=bool)  # which images reach each exit
    reached[1:] = ~np.logical_or.accumulate(exits_here[:-1], axis=0)
    images = np.arange(count)
    later = np.full(count, early_exits)  # where an image goes that this exit does not keep
    for index in reversed(range(early_exits)):
        order = orders[index][reached[index][orders[index]]]
        right_later, cost_later = correct[later, images], scores.gflops[later]
        counts, gains, line = _line(scores.uncertainty[index], order, correct[index] - right_later)
        # Those that never reach this exit count as they exit before.
        before = ~reached[index]
        gone = np.where(exits_here, np.arange(early_exits)[:, None], early_exits).min(axis=0)
        base_right = correct[gone, images][before].sum() + right_later[~before].sum()
        base_cost = scores.gflops[gone][before].sum() + cost_later[~before].sum()
        saved = np.append(0, np.cumsum((scores.gflops[index] - cost_later)[order]))[counts]
        points = np.repeat(limits[None], len(counts), axis=0)
        points[:, index] = line
        yield base_right + gains, (base_cost + saved) / count, points
        later = np.where(exits_here[index], index, later)


def _evenly(length: int, wanted: int) -> np.ndarray:
    """int64: up to `wanted` places, evenly spread over `length`, both ends included."""
    return np.unique(np.linspace(0, length - 1, min(length, wanted)).round().astype(np.int64))
