"""One point of a frontier, chosen for a budget, for an accuracy, or for a loss that must not be exceeded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from greenedge.errors import UsageError
from greenedge.exits.frontier import Frontier, pareto_frontier, shared_frontier
from greenedge.exits.sweep import ExitScores

_PATH_SHARE = 0.3  # of the images, to find the path of thresholds that the others test
_PATH_POINTS = 100
_LARGEST_BET = 0.75  # of the capital; any value in (0, 1) keeps the guarantee


def best_within(front: Frontier, budget_gflops: float) -> int:
    """The most accurate point whose mean cost is within the budget.

    Raises:
        UsageError: even the cheapest point costs more.
    """
    inside = np.flatnonzero(front.gflops <= budget_gflops)
    if not len(inside):
        raise UsageError(
            f"no thresholds keep within {budget_gflops:g} GFLOPs an image; leaving at the first exit costs "
            f"{front.gflops[0]:.4f}"
        )
    return int(inside[-1])


def cheapest_reaching(front: Frontier, min_accuracy: float) -> int:
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


def centred(scores: ExitScores, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds that route these images in the same way, each halfway between the images it parts.

    A frontier's thresholds are images' own scores, where another machine's rounding could send that image elsewhere.

    Args:
        scores: of the images that the thresholds were found on.
        thresholds: of each early exit.
    """
    rule = scores.criterion
    reached = np.ones(scores.correct.shape[1], dtype=bool)
    found = []
    for uncertainty, threshold in zip(scores.uncertainty, thresholds, strict=True):
        limit = rule.limit(threshold)
        leaves = uncertainty < limit
        gone, stay = uncertainty[reached & leaves], uncertainty[reached & ~leaves]
        if len(gone) and len(stay):
            limit = (float(gone.max()) + float(stay.min())) / 2
        found.append(rule.limit(limit))  # turning the sign twice gives the threshold back
        reached &= ~(uncertainty < limit)
    return tuple(found)


def risk_controlled(
    scores: ExitScores, max_loss: float, confidence: float, *, shared: bool = False, seed: int = 0
) -> tuple[float, ...]:
    """The cheapest thresholds whose accuracy is certified to be at most `max_loss` below the final exit's.

    Pareto testing (Laufer-Goldshtein et al. 2023) within Learn then Test (Angelopoulos et al. 2021): three tenths of
    the images, drawn at random, give a frontier; on the others its points are tested from the dearest to the cheapest,
    and the last one before the first failure is taken. A point passes where the hypothesis "its mean loss is above
    max_loss" is rejected at level 1 - confidence by betting (Waudby-Smith and Ramdas 2024), which early-exit networks
    were given by Jazbec et al. (2024). Over draws of the images, the true loss of what is returned is above `max_loss`
    with a chance of at most 1 - confidence.

    Args:
        scores: of images that nothing was trained on.
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
    test = scores.subset(order[cut:])
    candidates: list[tuple[float, ...]] = [(scores.criterion.never,) * (scores.num_exits - 1)]
    if cut > 0:
        known = scores.subset(order[:cut])
        front = shared_frontier(known) if shared else pareto_frontier(known)
        places = np.unique(np.linspace(0, len(front) - 1, _PATH_POINTS).round().astype(np.int64))
        candidates += [tuple(front.thresholds[place].tolist()) for place in reversed(places)]
    passed = None
    for thresholds in candidates:
        taken = test.exits_taken(thresholds)
        right = test.correct[taken, np.arange(len(taken))]
        loss = test.correct[-1].astype(np.float64) - right
        if betting_p_value((loss + 1) / 2, (max_loss + 1) / 2, 1 - confidence) > 1 - confidence:
            break
        passed = thresholds
    if passed is None:
        raise UsageError(
            f"{images} images are too few to certify a loss of at most {max_loss:g} with confidence {confidence:g}; "
            "set more aside (data.calibration_per_class), or ask for less"
        )
    return passed


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
