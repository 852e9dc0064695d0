"""One point of a frontier, chosen for a budget, for an accuracy, or for a loss that must not be exceeded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from greenedge.errors import UsageError
from greenedge.exits.frontier import Frontier, pareto_frontier
from greenedge.exits.sweep import ExitScores, sweep_all

Thresholds = tuple[float, ...]  # of each early exit

_PATH_SHARE = 0.3  # of the images, to find the thresholds that the others test, and their order
_PATH_POINTS = 60
_FRONT_POINTS = 100
_LARGEST_BET = 0.75  # of the capital; any value in (0, 1) keeps the guarantee


def most_accurate_within(front: Frontier, budget_gflops: float) -> int:
    """The most accurate point whose mean cost is within the budget.

    Raises:
        UsageError: even the cheapest point costs more.
    """
    inside = np.flatnonzero(front.gflops <= budget_gflops)
    if not len(inside):
        raise UsageError(
            f"no thresholds keep within {budget_gflops:g} GFLOPs per image; exiting at the first exit costs "
            f"{front.gflops[0]:.4f}"
        )
    return int(inside[-1])


def cheapest_above(front: Frontier, min_accuracy: float) -> int:
    """The cheapest point of at least that accuracy, in [0, 1].

    Raises:
        UsageError: no point is that accurate.
    """
    reaching = np.flatnonzero(front.accuracy >= min_accuracy)
    if not len(reaching):
        raise UsageError(
            f"no thresholds reach {100 * min_accuracy:g} % on these images; the best reach "
            f"{100 * front.accuracy[-1]:.2f} % at {front.gflops[-1]:.4f} GFLOPs"
        )
    return int(reaching[0])


def midpoint_thresholds(scores: ExitScores, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds that route these images in the same way, each halfway between the images it parts.

    A frontier's thresholds are images' own scores, where another machine's rounding could send that image elsewhere.

    Args:
        scores: of the images that the thresholds were found on.
        thresholds: of each early exit.
    """
    criterion = scores.criterion
    reached = np.ones(scores.correct.shape[1], dtype=bool)
    found = []
    for uncertainty, threshold in zip(scores.uncertainty, thresholds, strict=True):
        limit = criterion.uncertainty_limit(threshold)
        exiting = uncertainty < limit
        exited, remaining = uncertainty[reached & exiting], uncertainty[reached & ~exiting]
        if len(exited) and len(remaining):
            limit = (float(exited.max()) + float(remaining.min())) / 2
        found.append(criterion.threshold_of(limit))
        reached &= ~(uncertainty < limit)
    return tuple(found)


def risk_controlled(
    scores: ExitScores, max_loss: float, confidence: float, *, shared: bool = False, seed: int = 0
) -> tuple[float, ...]:
    """The cheapest thresholds whose accuracy is certified to be at most `max_loss` below the final exit's.

    Learn then Test (Angelopoulos et al. 2021): three tenths of the images, drawn at random, give candidates and the
    order in which the others test them. A chain of tests ends at its first failure, so that it certifies too much with
    a chance of at most its level. "Never" comes first, and then there are

    - a dense path of thresholds that all exits share, from the dearest to the cheapest, each a little less safe than
      the one before;
    - unless `shared`, a second chain by Pareto testing (Laufer-Goldshtein et al. 2023): the path and the frontier of
      thresholds of each exit, ordered by their p-values on the three tenths. It skips what the path would have to go
      through, but a frontier of few images flatters its own points and may fail at once. So each chain has half of the
      level 1 - confidence, and the cheapest candidate that either of them passes is taken.

    A candidate passes where the hypothesis "its mean loss is above max_loss" is rejected by betting (Waudby-Smith and
    Ramdas 2024), which early-exit networks were given by Jazbec et al. (2024). Over draws of the images, the true loss
    of what is returned is above `max_loss` with a chance of at most 1 - confidence.

    Args:
        scores: of images that nothing was trained or fitted on, temperatures included.
        max_loss: of accuracy, in (0, 1).
        confidence: in (0, 1).
        shared: one threshold for all exits.
        seed: of the draw and of the order in which images are looked at.

    Returns:
        a threshold for each early exit.

    Raises:
        UsageError: with so few images not even running everything passes.
    """
    images = scores.correct.shape[1]
    order = np.random.default_rng(seed).permutation(images)
    cut = int(_PATH_SHARE * images)
    known, test = scores.subset(order[:cut]), scores.subset(order[cut:])
    never: Thresholds = (scores.criterion.never_exit_threshold,) * (scores.num_exits - 1)
    path = _shared_path(known) if cut > 0 else []
    chains = [path]
    risk = 1 - confidence
    if not shared and cut > 0:
        risk /= 2
        likely = [*path, *_spread(pareto_frontier(known))]
        chains.append(sorted(likely, key=lambda each: (_p_value(known, each, max_loss, risk), -_cost(known, each))))
    passed = [
        each
        for chain in chains
        for each in itertools.takewhile(lambda tried: _p_value(test, tried, max_loss, risk) <= risk, [never, *chain])
    ]
    if not passed:
        raise UsageError(
            f"{images} images are too few to certify a loss of at most {max_loss:g} with confidence {confidence:g}; "
            "set more aside (data.calibration_per_class), or ask for less"
        )
    return min(passed, key=lambda each: _cost(scores, each))  # costs ask for no label, so all images may tell them


def _shared_path(known: ExitScores) -> list[Thresholds]:
    """Thresholds that all early exits share, evenly spaced in cost, the dearest first."""
    curve = sweep_all(known)
    chosen = curve.thresholds[curve.spread(_PATH_POINTS)]
    return [(each,) * (known.num_exits - 1) for each in chosen.tolist()]


def _spread(front: Frontier) -> list[Thresholds]:
    places = np.unique(np.linspace(0, len(front) - 1, _FRONT_POINTS).round().astype(np.int64))
    return [tuple(each) for each in front.thresholds[places].tolist()]


def _cost(scores: ExitScores, thresholds: Thresholds) -> float:
    _, gflops = scores.outcomes(thresholds)
    return float(gflops.mean())


def _p_value(scores: ExitScores, thresholds: Thresholds, max_loss: float, level: float) -> float:
    """Of "these thresholds lose more than `max_loss` against the final exit"."""
    correct, _ = scores.outcomes(thresholds)
    loss = scores.correct[-1].astype(np.float64) - correct
    return betting_p_value((loss + 1) / 2, (max_loss + 1) / 2, level)


def betting_p_value(values: np.ndarray, mean: float, level: float) -> float:
    """A p-value, valid for any number of images, of "the expected value is at least `mean`".

    A gambler who starts with 1 bets on each value being below the mean; if the hypothesis holds the capital is a
    supermartingale, and exceeds 1/p with a chance of at most p (Ville). Bets follow the variance seen so far
    (Waudby-Smith and Ramdas 2024, equation 26), and `level` is what they are sized for.

    Args:
        values: float (N,), in [0, 1], exchangeable.
        mean: in (0, 1).
        level: in (0, 1).
    """
    if len(values) == 0:
        return 1.0
    count = np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(values)) / (count + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (count + 1)
    before = np.append(0.25, variances[:-1])  # a bet knows only what came before it
    bets = np.minimum(np.sqrt(2 * math.log(1 / level) / (len(values) * before)), _LARGEST_BET / (1 - mean))
    capital = np.cumsum(np.log1p(bets * (mean - values)))
    return float(np.exp(-max(0.0, capital.max())))
