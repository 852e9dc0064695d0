"""Operating points of one threshold that all early exits share, found without running the network.

Image i exits at the first exit e whose uncertainty s_e lies strictly below T. With the running minimum
m_e = min(s_1 .. s_e), it has exited by exit e exactly if m_e < T. The accuracy at T is therefore a sum of step
functions of T, one an exit, and sorting each m_e once gives all thresholds at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.errors import UsageError
from greenedge.exits.areas import curve_range
from greenedge.exits.confidence import Criterion
from greenedge.exits.outputs import ExitOutputs

_ROUNDING = 1e-9
_IMPOSSIBLE = "shares of the images must be at least 0 and sum to 1, an accuracy lies in [0, 1], a cost is finite"


@dataclass(frozen=True)
class OperatingPoint:
    """What a network does at one setting of its thresholds.

    Attributes:
        thresholds: of each early exit, in the criterion's unit.
        accuracy: in [0, 1].
        exit_shares: of the images, by exit; they sum to 1.
        gflops: mean over the images.

    Raises:
        ValueError: numbers that cannot be, as scores that are not finite would give.
    """

    thresholds: tuple[float, ...]
    accuracy: float
    exit_shares: tuple[float, ...]
    gflops: float

    def __post_init__(self) -> None:
        """Checks the numbers."""
        possible = min(self.exit_shares) >= 0 and abs(math.fsum(self.exit_shares) - 1) <= _ROUNDING
        if not possible or not 0 <= self.accuracy <= 1 or not 0 <= self.gflops < math.inf:
            raise ValueError(_IMPOSSIBLE)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Operating points of P shared thresholds, by column.

    Attributes:
        thresholds: float64 (P,), in the criterion's unit.
        accuracy: float64 (P,), in [0, 1].
        exit_shares: float64 (P, E).
        gflops: float64 (P,), mean over the images.

    Raises:
        ValueError: numbers that cannot be, as scores that are not finite would give.
    """

    thresholds: np.ndarray
    accuracy: np.ndarray
    exit_shares: np.ndarray
    gflops: np.ndarray

    def __post_init__(self) -> None:
        """Checks the numbers."""
        shares, accuracy, gflops = self.exit_shares, self.accuracy, self.gflops
        possible = (shares >= 0).all() and (np.abs(shares.sum(axis=1) - 1) <= _ROUNDING).all()
        if not possible or not ((accuracy >= 0) & (accuracy <= 1) & (gflops >= 0) & (gflops < np.inf)).all():
            raise ValueError(_IMPOSSIBLE)

    def __repr__(self) -> str:
        """The number of points and the ends of the curve."""
        exits = self.exit_shares.shape[1]
        return f"Sweep({exits} exits, {curve_range(self.gflops, self.accuracy)})"

    def __len__(self) -> int:
        return len(self.thresholds)

    def spread(self, points: int) -> np.ndarray:
        """int64 (at most `points`,), rising: places evenly spaced in cost, both ends of the curve among them."""
        targets = np.linspace(self.gflops.min(), self.gflops.max(), points)
        return np.unique([int(np.abs(self.gflops - target).argmin()) for target in targets])

    def rows(self, places: np.ndarray) -> Sweep:
        """Some of the points."""
        return Sweep(self.thresholds[places], self.accuracy[places], self.exit_shares[places], self.gflops[places])

    def points(self) -> Iterator[OperatingPoint]:
        """Row by row."""
        early_exits = self.exit_shares.shape[1] - 1
        columns = (self.thresholds, self.accuracy, self.exit_shares, self.gflops)
        for threshold, accuracy, shares, gflops in zip(*(c.tolist() for c in columns), strict=True):
            yield OperatingPoint((threshold,) * early_exits, accuracy, tuple(shares), gflops)


@dataclass(frozen=True, eq=False)
class ExitScores:
    """What thresholds need to know of a network's outputs; made once, good for any number of sweeps.

    Attributes:
        criterion: what is compared with the threshold.
        uncertainty: float64 (E-1, N), of each early exit; smaller is more confident.
        minima: float64 (E-1, N), the smallest uncertainty up to each early exit.
        correct: bool (E, N), whether each exit is right.
        gflops: float64 (E,), cost of one image that exits at each exit.

    Raises:
        ValueError: an uncertainty that is not a number.
    """

    criterion: Criterion
    uncertainty: np.ndarray
    minima: np.ndarray
    correct: np.ndarray
    gflops: np.ndarray

    def __post_init__(self) -> None:
        """Checks the scores."""
        if np.isnan(self.uncertainty).any() or np.isnan(self.minima).any():
            raise ValueError("an exit's uncertainty is not a number")

    def __repr__(self) -> str:
        """The shape, and the accuracy and cost of each exit."""
        exits, images = self.correct.shape
        accuracies = ", ".join(f"{each:.4f}" for each in self.correct.mean(axis=1))
        gflops = ", ".join(f"{each:.4g}" for each in self.gflops)
        return f"ExitScores({exits} exits, {images} images, accuracy [{accuracies}], GFLOPs [{gflops}])"

    @property
    def num_exits(self) -> int:
        """E."""
        return len(self.correct)

    def exit_indices(self, thresholds: Sequence[float]) -> np.ndarray:
        """int64 (N,): where each image exits, counted from 0, with a threshold for each early exit."""
        taken = np.full(self.correct.shape[1], self.num_exits - 1)
        for index in reversed(range(self.num_exits - 1)):
            taken[self.uncertainty[index] < self.criterion.uncertainty_limit(float(thresholds[index]))] = index
        return taken

    def outcomes(self, thresholds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Whether each image is right where it exits, bool (N,), and what it costs, float64 (N,)."""
        taken = self.exit_indices(thresholds)
        return self.correct[taken, np.arange(len(taken))], self.gflops[taken]

    def operating_point(self, thresholds: Sequence[float]) -> OperatingPoint:
        """What the network does with a threshold for each early exit."""
        taken = self.exit_indices(thresholds)
        shares = np.bincount(taken, minlength=self.num_exits) / len(taken)
        accuracy = float(self.correct[taken, np.arange(len(taken))].mean())
        return OperatingPoint(tuple(thresholds), accuracy, tuple(shares.tolist()), float(shares @ self.gflops))

    def subset(self, rows: np.ndarray) -> ExitScores:
        """Of some of the images."""
        return dataclasses.replace(
            self,
            uncertainty=self.uncertainty[:, rows],
            minima=self.minima[:, rows],
            correct=self.correct[:, rows],
        )


def score_outputs(outputs: ExitOutputs, criterion: Criterion) -> ExitScores:
    """Computes each early exit's uncertainty and each exit's correctness.

    Args:
        outputs: of E exits on N images; what each exit goes by, where a policy has temperatures or an ensemble.
        criterion: what the thresholds are compared with.
    """
    uncertainty = criterion.uncertainty(outputs.logits[:-1])
    minima = np.minimum.accumulate(uncertainty, axis=0)
    return ExitScores(criterion, uncertainty, minima, outputs.correct(), outputs.gflops)


def sweep_thresholds(scores: ExitScores, thresholds: Sequence[float] | np.ndarray) -> Sweep:
    """The operating points of the given thresholds, in their order.

    Args:
        scores: of E exits on N images.
        thresholds: shared by all early exits, in the criterion's unit; at least one.

    Raises:
        UsageError: no threshold, or one that is not a number.
    """
    chosen = np.asarray(thresholds, dtype=np.float64)
    if chosen.size == 0 or np.isnan(chosen).any():
        raise UsageError("thresholds must be numbers, and at least one")
    limits = scores.criterion.uncertainty_limit(chosen)
    correct = scores.correct.astype(np.int64)
    exits, count = correct.shape
    left = np.zeros((exits + 1, len(limits)), dtype=np.int64)  # images gone before exit 0, 1, ..., E
    left[exits] = count
    right = np.full(len(limits), correct[-1].sum())
    for index, minima in enumerate(scores.minima):
        order = np.argsort(minima)
        left[index + 1] = np.searchsorted(minima[order], limits, side="left")
        # Images that have exited by this exit count with its prediction in place of the next one's.
        gains = np.append(0, np.cumsum((correct[index] - correct[index + 1])[order]))
        right += gains[left[index + 1]]
    shares = np.diff(left, axis=0).T / count
    return Sweep(chosen, right / count, shares, shares @ scores.gflops)


def sweep_all(scores: ExitScores) -> Sweep:
    """Every distinct operating point of a shared threshold, from "no image exits early" to "all exit at once".

    Nothing changes between two neighbouring values of the images' running minima, so one threshold is given for each
    such interval: its closed end, or, for the last, the next number after the largest value.
    """
    never = scores.criterion.uncertainty_limit(scores.criterion.never_exit_threshold)
    before = np.vstack([np.full_like(scores.minima[:1], np.inf), scores.minima[:-1]])
    # A minimum that only repeats the exit before changes nothing: that image has left by then.
    values = np.unique(scores.minima[scores.minima < before])
    limits = np.append(values, np.nextafter(values[-1:], np.inf)) if len(values) else np.array([never])
    limits[0] = never
    return sweep_thresholds(scores, scores.criterion.threshold_of(limits))
