"""What exits after some blocks give on images that their temperatures, weights and thresholds were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from greenedge.exits.areas import dominated_area
from greenedge.exits.calibration import fit_temperatures
from greenedge.exits.candidates import Candidates
from greenedge.exits.confidence import find_criterion
from greenedge.exits.ensemble import fit_weight, join_logits
from greenedge.exits.frontier import Frontier, shared_frontier
from greenedge.exits.sweep import ExitScores, sweep_thresholds

CRITERION = "margin"
_BUDGETS = 40  # points of a curve whose area is asked for
_ROUNDING = 1e-9  # of costs


@dataclass(frozen=True)
class PlacementGoal:
    """What exits are placed for.

    Attributes:
        budget_gflops: the mean cost that an image may have; None: all costs up to that of the backbone without exits.
        max_exits: at most so many early exits.
    """

    budget_gflops: float | None
    max_exits: int

    def budgets(self, cheapest: float, plain_gflops: float) -> np.ndarray:
        """float64 (K,): the budgets that exits are judged at.

        Args:
            cheapest: the cost of an image at the first of the exits.
            plain_gflops: of the backbone without exits.
        """
        if self.budget_gflops is not None:
            return np.array([self.budget_gflops])
        return np.linspace(cheapest, max(cheapest, plain_gflops), _BUDGETS)

    def score(self, gflops: np.ndarray, accuracy: np.ndarray, plain_gflops: float) -> float:
        """The accuracy in [0, 1] at the budget, or the dominated area up to the backbone's cost, in % x GFLOPs.

        Args:
            gflops: float (K,), mean cost at each budget.
            accuracy: float (K,), likewise.
            plain_gflops: of the backbone without exits.
        """
        if self.budget_gflops is not None:
            return float(accuracy[0])
        return dominated_area(gflops, accuracy, plain_gflops)


@dataclass(frozen=True, eq=False)
class _Joined:
    """What an exit goes by behind others, on all images.

    Attributes:
        block: that it comes after.
        logits: float32 (N, C).
        uncertainty: float64 (N,).
        correct: bool (N,).
    """

    block: int
    logits: Tensor
    uncertainty: np.ndarray
    correct: np.ndarray


class HalfScorer:
    """Scores sets of blocks: all is fitted on one half of the images and judged on the other.

    Each exit goes by a running ensemble of tempered logits, and one threshold on their margin is shared by all: it says
    as well as one for each exit which set is better, and takes milliseconds to find. Sets are best asked for in
    lexicographic order, as what the exits in front go by is kept from one to the next. What the ensemble costs itself,
    some millionths of a GFLOP, is left out.

    Args:
        candidates: of N images.
        fitted, held_out: int64, the two halves of the images.
        goal: what sets are judged by.
    """

    def __init__(self, candidates: Candidates, fitted: np.ndarray, held_out: np.ndarray, goal: PlacementGoal) -> None:
        self.candidates, self.fitted, self.held_out, self.goal = candidates, fitted, held_out, goal
        self._criterion = find_criterion(CRITERION)
        every_block = range(len(candidates.names))
        self._temperatures = fit_temperatures(candidates.outputs(every_block).subset(fitted))
        self._logits = torch.from_numpy(candidates.logits)
        self._rows = torch.from_numpy(fitted)
        self._labels = torch.from_numpy(candidates.labels[fitted])
        self._path: list[_Joined] = []

    def score(self, blocks: Sequence[int]) -> tuple[float, float]:
        """The score of exits after some blocks on the half that all was fitted on, and on the other half.

        Args:
            blocks: positions among the candidates, rising, at least one.
        """
        scores, front, budgets = self._fit(blocks)
        if not len(budgets):
            return -np.inf, -np.inf
        rows = _within(front, budgets)
        plain = self.candidates.plain_gflops
        curve = sweep_thresholds(scores.subset(self.held_out), front.thresholds[rows, 0])
        known = self.goal.score(front.gflops[rows], front.accuracy[rows], plain)
        return known, self.goal.score(curve.gflops, curve.accuracy, plain)

    def routed(self, blocks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Whether each held-out image is right, and what it costs, at each of the goal's K budgets.

        Args:
            blocks: positions among the candidates, rising, at least one, that keep within the budget.

        Returns:
            bool (K, n) and float64 (K, n), in the order of the half that was held out.
        """
        scores, front, budgets = self._fit(blocks)
        shown = scores.subset(self.held_out)
        thresholds = front.thresholds[_within(front, budgets)]
        correct, gflops = zip(*(shown.outcomes(each) for each in thresholds.tolist()), strict=True)
        return np.stack(correct), np.stack(gflops)

    def _fit(self, blocks: Sequence[int]) -> tuple[ExitScores, Frontier, np.ndarray]:
        """Scores of all images, the front of a shared threshold on the fitted half, and the budgets it can keep."""
        scores = self._scores(blocks)
        front = shared_frontier(scores.subset(self.fitted))
        budgets = self.goal.budgets(float(scores.gflops[0]), self.candidates.plain_gflops)
        return scores, front, budgets[budgets >= front.gflops[0] * (1 - _ROUNDING)]

    def _scores(self, blocks: Sequence[int]) -> ExitScores:
        same = 0
        while same < min(len(blocks), len(self._path)) and self._path[same].block == blocks[same]:
            same += 1
        del self._path[same:]
        for block in blocks[same:]:
            self._path.append(self._joined(block))
        final = self._joined(len(self.candidates.names))
        uncertainty = np.stack([each.uncertainty for each in self._path])
        return ExitScores(
            self._criterion,
            uncertainty,
            np.minimum.accumulate(uncertainty, axis=0),
            np.stack([each.correct for each in (*self._path, final)]),
            self.candidates.exit_gflops(blocks),
        )

    def _joined(self, block: int) -> _Joined:
        """An exit after a block, behind those of the path."""
        temperature, logits = self._temperatures[block], self._logits[block]
        before = self._path[-1].logits if self._path else None
        weight = 0.0
        if before is not None:
            own = logits[self._rows] / temperature
            weight = fit_weight(before[self._rows], own, self._labels)
        joined = join_logits(logits, before, temperature, weight)
        correct = joined.argmax(dim=1).numpy() == self.candidates.labels
        is_final = block == len(self.candidates.names)
        uncertainty = np.zeros(0) if is_final else self._criterion.uncertainty(joined[None].numpy())[0]
        return _Joined(block, joined, uncertainty, correct)


def _within(front: Frontier, budgets: np.ndarray) -> np.ndarray:
    """int64 (K,): the most accurate point of a front within each budget, none of which is below the cheapest point."""
    places = np.searchsorted(front.gflops, budgets * (1 + _ROUNDING), side="right") - 1
    return np.maximum(places, 0)
