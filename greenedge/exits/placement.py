"""Where exits belong: a set of blocks chosen on what classifiers there would say of held-out images.

Finding the best placement is NP-complete in general (Chiang et al. 2021, who solve it by dynamic programming where
exits are independent). Exits with a shared ensemble and thresholds are not, so that sets are compared as a whole here,
which takes milliseconds each: all sets of few exits, else forward selection with swaps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from greenedge.errors import UsageError
from greenedge.exits.baselines import gains_over_mixture
from greenedge.exits.bootstrap import Estimate, bootstrap_weights, difference_interval
from greenedge.exits.candidates import Candidates
from greenedge.exits.exit_rules import MIN_IMAGES
from greenedge.exits.placement_scores import HalfScorer, PlacementGoal

MOST_SETS = 1000  # that are all compared
_HALVINGS = 2  # of the images, each used in both directions
_SEED = 0

Blocks = tuple[int, ...]


@dataclass(frozen=True)
class ScoredBlocks:
    """A set of blocks and its score, judged four times on a half of the images that nothing was fitted on.

    Attributes:
        blocks: positions among the candidates, rising.
        known: scores on the halves that all was fitted on.
        scores: on the other halves: the accuracy in [0, 1] at the budget, or a dominated area in % x GFLOPs.
    """

    blocks: Blocks
    known: tuple[float, ...]
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        """The mean of the scores."""
        return float(np.mean(self.scores))

    @property
    def standard_error(self) -> float:
        """Of the mean, from the spread of the scores."""
        return float(np.std(self.scores, ddof=1) / math.sqrt(len(self.scores)))


@dataclass(frozen=True)
class HeldOutGain:
    """What the chosen exits give on images, each judged by what was fitted on the half that it is not in.

    Attributes:
        accuracy: in [0, 1], the mean over the goal's budgets.
        gflops: mean cost, likewise.
        over_static: accuracy minus that of the best random mix of single exits, each alone, and the backbone without
            exits, at the same cost.
        over_backbone: accuracy minus that of the backbone without exits; None where there are several budgets.
    """

    accuracy: float
    gflops: float
    over_static: Estimate
    over_backbone: Estimate | None


@dataclass(frozen=True, eq=False, repr=False)
class Placement:
    """Where exits belong.

    Attributes:
        candidates: the blocks.
        goal: what was asked for.
        searched: the blocks that were looked at: those whose exit, alone, no other beats in both accuracy and cost, nor
            the backbone.
        sets: all sets that were compared, the best first.
        exhaustive: whether these were all there are.
        chosen: the smallest set within one standard error of the best.
        half_chosen_score: the mean score on each half of the set that was best on the other: what the choice is worth
            on images that had no part in it.
        gain: of the chosen set.
    """

    candidates: Candidates
    goal: PlacementGoal
    searched: Blocks
    sets: tuple[ScoredBlocks, ...]
    exhaustive: bool
    chosen: ScoredBlocks
    half_chosen_score: float
    gain: HeldOutGain

    def __repr__(self) -> str:
        return f"Placement({', '.join(self.names(self.chosen))} of {len(self.sets)} sets)"

    @property
    def best(self) -> ScoredBlocks:
        """The set of the best score."""
        return self.sets[0]

    @property
    def runner_up(self) -> ScoredBlocks | None:
        """The best set but for the chosen one; None where there is no other."""
        return next((each for each in self.sets if each != self.chosen), None)

    def names(self, each: ScoredBlocks) -> tuple[str, ...]:
        """The blocks of a set."""
        return tuple(self.candidates.names[block] for block in each.blocks)


def place_exits(candidates: Candidates, goal: PlacementGoal) -> Placement:
    """Chooses the blocks that exits should come after.

    The images are cut in two halves, twice; in each direction, all is fitted on one half and judged on the other. Of
    all sets, the smallest within one standard error of the best is chosen (Breiman et al. 1984, section 3.4.3).

    Args:
        candidates: of calibration images.
        goal: what sets are judged by.

    Raises:
        UsageError: too few images, or not even the cheapest exit keeps within the budget.
    """
    images = len(candidates.labels)
    check_enough_images(images)
    searched = _searched(candidates, goal)
    scorers = [HalfScorer(candidates, fitted, held_out, goal) for fitted, held_out in _halves(images)]
    found: dict[Blocks, ScoredBlocks] = {}

    def score(blocks: Blocks) -> float:
        if blocks not in found:
            known, scores = zip(*(scorer.score(blocks) for scorer in scorers), strict=True)
            found[blocks] = ScoredBlocks(blocks, known, scores)
        return found[blocks].score

    largest = min(goal.max_exits, len(searched))
    exhaustive = sum(math.comb(len(searched), size) for size in range(1, largest + 1)) <= MOST_SETS
    if exhaustive:
        sets_to_score = _all_sets(searched, largest)
        for blocks in tqdm(sets_to_score, desc="comparing sets", unit=" sets", disable=None, leave=False):
            score(blocks)
    else:
        _select_forward(searched, largest, score)

    possible = [each for each in found.values() if each.score > -math.inf]
    sets = tuple(sorted(possible, key=lambda each: (-each.score, len(each.blocks))))
    chosen = _smallest_within_one_error(sets)
    half_chosen = [max(sets, key=lambda each: each.known[half]).scores[half] for half in range(len(scorers))]
    gain = _gain(candidates, [scorer.routed(chosen.blocks) for scorer in scorers], scorers)
    return Placement(candidates, goal, searched, sets, exhaustive, chosen, float(np.mean(half_chosen)), gain)


def check_enough_images(images: int, where: str = "") -> None:
    """Whether sets of blocks can be told apart by so many calibration images.

    Args:
        images: N.
        where: begins the sentence, such as the data set's path and a colon.

    Raises:
        UsageError: they are too few.
    """
    if images < MIN_IMAGES:
        raise UsageError(
            f"{where}{images} calibration images are too few to place exits by, which takes {MIN_IMAGES}; set more "
            "aside (data.calibration_per_class) and train again, or name a larger data set with --data"
        )


def _searched(candidates: Candidates, goal: PlacementGoal) -> Blocks:
    """The blocks that are worth looking at.

    Raises:
        UsageError: none of them is cheaper than the backbone, or keeps within the budget.
    """
    blocks = candidates.undominated()
    if not blocks:
        raise UsageError(
            f"the backbone costs {candidates.plain_gflops:.4f} GFLOPs per image, and with such a head no exit is "
            "cheaper; give another --head (linear is the cheapest)"
        )
    costs = candidates.standalone_gflops[list(blocks)]
    if goal.budget_gflops is not None and costs.min() > goal.budget_gflops:
        cheapest = int(costs.argmin())
        raise UsageError(
            f"no exit keeps within {goal.budget_gflops:g} GFLOPs per image: the cheapest, after "
            f"{candidates.names[blocks[cheapest]]}, costs {costs[cheapest]:.4f} with its head; give a larger --budget, "
            "or another --head (linear is the cheapest)"
        )
    return blocks


def _halves(images: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(Half to fit on, other half), in both directions of each halving."""
    random = np.random.default_rng(_SEED)
    for _ in range(_HALVINGS):
        first, second = (np.sort(half) for half in np.array_split(random.permutation(images), 2))
        yield first, second
        yield second, first


def _all_sets(blocks: Sequence[int], largest: int) -> list[Blocks]:
    """All sets of at least one and at most so many blocks, in lexicographic order."""
    sizes = range(1, largest + 1)
    return sorted(itertools.chain.from_iterable(itertools.combinations(blocks, size) for size in sizes))


def _select_forward(blocks: Sequence[int], largest: int, score: Callable[[Blocks], float]) -> None:
    """Adds the block that helps most, time after time; after each, blocks are swapped as long as that helps."""
    chosen: Blocks = ()
    for _ in range(largest):
        chosen = max((_with(chosen, block) for block in blocks if block not in chosen), key=score)
        while True:
            swaps = [
                _with(tuple(each for each in chosen if each != out), block)
                for out in chosen
                for block in blocks
                if block not in chosen
            ]
            best = max(swaps, key=score, default=chosen)
            if score(best) <= score(chosen):
                break
            chosen = best


def _with(blocks: Blocks, block: int) -> Blocks:
    return tuple(sorted((*blocks, block)))


def _smallest_within_one_error(sets: Sequence[ScoredBlocks]) -> ScoredBlocks:
    """Of equally small ones the best."""
    worst = sets[0].score - sets[0].standard_error
    within = [each for each in sets if each.score >= worst]
    return min(within, key=lambda each: (len(each.blocks), -each.score))


def _gain(
    candidates: Candidates, routed: Sequence[tuple[np.ndarray, np.ndarray]], scorers: Sequence[HalfScorer]
) -> HeldOutGain:
    """What held-out images gain; each image is held out once per halving, and counts with its mean."""
    images, budgets = len(candidates.labels), len(routed[0][0])
    right, spent = np.zeros((budgets, images)), np.zeros((budgets, images))
    for (correct, gflops), scorer in zip(routed, scorers, strict=True):
        right[:, scorer.held_out] += correct / _HALVINGS
        spent[:, scorer.held_out] += gflops / _HALVINGS
    alone = candidates.logits.argmax(axis=2) == candidates.labels
    standalone = candidates.standalone_gflops

    def gains(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Over the mix and over the backbone, on resamples (B, N): each (B,)."""
        accuracy, costs, exits = weights @ right.T, weights @ spent.T, weights @ alone.T
        over_mixture = gains_over_mixture(accuracy, costs, standalone, exits)
        return over_mixture.mean(axis=1), accuracy.mean(axis=1) - exits[:, -1]

    found = gains(np.full((1, images), 1 / images))
    resampled = gains(bootstrap_weights(images).astype(np.float64))
    over_static, over_backbone = (
        Estimate(float(value[0]), difference_interval(values, images))
        for value, values in zip(found, resampled, strict=True)
    )
    return HeldOutGain(float(right.mean()), float(spent.mean()), over_static, over_backbone if budgets == 1 else None)
