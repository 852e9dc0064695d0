"""How confident an exit is: scores that thresholds are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from greenedge.config.convert import did_you_mean
from greenedge.errors import ConfigError, UsageError
from greenedge.models.entropy import entropy

# What a criterion keeps of each image from one exit to the next, (..., K); None before the first exit, and for criteria
# that look at one exit only.
CriterionState = Tensor | None
_ROUNDING = 1e-6  # of scores in float32
ScoreExit = Callable[[Tensor, CriterionState], tuple[Tensor, CriterionState]]
_Number = TypeVar("_Number", float, np.ndarray)

GAIN = "gain"  # the criterion that is learned (`exits/gain.py`); it is made of a policy's coefficients, not by its name


@dataclass(frozen=True)
class Criterion:
    """A score of how confident an exit is.

    Scores and thresholds are in the criterion's own unit, and either a low score or a high one is confident. All
    decisions are made on the uncertainty, for which smaller is more confident: an image exits where its uncertainty is
    strictly below a limit, compared in float64. `to_uncertainty` turns scores into uncertainties, `uncertainty_limit`
    turns thresholds into limits, and nothing else knows which side is confident.

    Attributes:
        score_exit: from one exit's logits (..., C) and the state of the exit before to scores (...) and a new state.
        unit: of the score and its threshold.
        exit_if_below: True: an image exits where its score is strictly below the threshold; False: strictly above.
        never_exit_threshold: a threshold at which no image exits early.
        span: from the numbers of classes and exits to the least and the largest score that an early exit can have.
    """

    score_exit: ScoreExit
    unit: str
    exit_if_below: bool
    never_exit_threshold: float
    span: Callable[[int, int], tuple[float, float]]

    def to_uncertainty(self, scores: Tensor) -> Tensor:
        """float64 (...): the uncertainty of scores (...)."""
        exact = scores.double()
        return exact if self.exit_if_below else -exact

    def uncertainty_limit(self, threshold: _Number) -> _Number:
        """The limit on the uncertainty that a threshold, or an array of thresholds, means."""
        return threshold if self.exit_if_below else -threshold

    def threshold_of(self, limit: _Number) -> _Number:
        """The threshold that means this limit, or those that mean these limits."""
        return limit if self.exit_if_below else -limit

    def uncertainty(self, logits: np.ndarray) -> np.ndarray:
        """float64 (E, ...): the uncertainties of consecutive exits' logits (E, ..., C)."""
        state: CriterionState = None
        found = np.empty(logits.shape[:-1])
        for index, exit_logits in enumerate(torch.from_numpy(logits)):
            scores, state = self.score_exit(exit_logits, state)
            found[index] = self.to_uncertainty(scores)
        return found

    def uncertainty_range(self, num_classes: int, num_exits: int) -> tuple[float, float]:
        """The least and the largest uncertainty that an early exit can have."""
        ends = [self.uncertainty_limit(score) for score in self.span(num_classes, num_exits)]
        return min(ends), max(ends)


def max_probability(logits: Tensor) -> Tensor:
    """The largest softmax probability: 1/C to 1."""
    return torch.softmax(logits, dim=-1).amax(dim=-1)


def margin(logits: Tensor) -> Tensor:
    """The largest softmax probability minus the second largest (which is 0 where there is one class): 0 to 1."""
    if logits.shape[-1] == 1:
        return torch.ones_like(logits[..., 0])
    largest = torch.softmax(logits, dim=-1).topk(2, dim=-1).values
    return largest[..., 0] - largest[..., 1]


def normalised_entropy(logits: Tensor) -> Tensor:
    """The entropy over its largest value, ln C: 0 to 1, whatever the number of classes (BranchyNet, 2016)."""
    return entropy(logits) / (math.log(logits.shape[-1]) or 1.0)  # of one class the entropy is 0, as is ln C


def agreement(logits: Tensor, state: CriterionState) -> tuple[Tensor, CriterionState]:
    """How many exits in a row, this one included, have given the same prediction (PABEE, Zhou et al. 2020).

    "Strictly above T" is PABEE's patience of T: T more exits have given the same prediction as the one before them.

    Args:
        logits: (..., C).
        state: int64 (..., 2) of the exit before: its prediction, and how many in a row had given it.
    """
    prediction = logits.argmax(dim=-1)
    run = torch.ones_like(prediction)
    if state is not None:
        run = torch.where(prediction == state[..., 0], state[..., 1] + 1, run)
    return run.float(), torch.stack([prediction, run], dim=-1)


def _of_one_exit(score: Callable[[Tensor], Tensor]) -> ScoreExit:
    return lambda logits, _state: (score(logits), None)


CRITERIA: dict[str, Criterion] = {
    "entropy": Criterion(
        _of_one_exit(entropy),
        "nats",
        exit_if_below=True,
        never_exit_threshold=0.0,
        span=lambda classes, _exits: (0.0, math.log(classes)),
    ),
    "normalised_entropy": Criterion(
        _of_one_exit(normalised_entropy),
        "share of ln C",
        exit_if_below=True,
        never_exit_threshold=0.0,
        span=lambda _classes, _exits: (0.0, 1.0),
    ),
    "max_probability": Criterion(
        _of_one_exit(max_probability),
        "probability",
        exit_if_below=False,
        never_exit_threshold=1.0,
        span=lambda classes, _exits: (1 / classes, 1.0),
    ),
    "margin": Criterion(
        _of_one_exit(margin),
        "probability",
        exit_if_below=False,
        never_exit_threshold=1.0,
        span=lambda _classes, _exits: (0.0, 1.0),
    ),
    "patience": Criterion(
        agreement,
        "exits in agreement",
        exit_if_below=False,
        never_exit_threshold=1000.0,  # no network has a thousand exits
        span=lambda _classes, exits: (1.0, float(max(exits - 1, 1))),
    ),
}


def find_criterion(name: str) -> Criterion:
    """The criterion of that name.

    Raises:
        ConfigError: there is none, or it is the learned one, which has no meaning without a policy.
    """
    if name == GAIN:
        raise ConfigError(
            "gain is learned by `greenedge tune --criterion gain` and used with the policy that it writes; "
            f"name another here: {', '.join(CRITERIA)}",
            key="criterion",
        )
    if name not in CRITERIA:
        hint = did_you_mean(name, CRITERIA) or f"known are {', '.join(CRITERIA)}"
        raise ConfigError(f"there is no {name!r}; {hint}", key="criterion")
    return CRITERIA[name]


def check_thresholds(
    criterion_name: str,
    thresholds: Sequence[float],
    num_classes: int,
    num_exits: int,
    *,
    criterion: Criterion | None = None,
) -> None:
    """Refuses thresholds that the criterion's scores can never reach, such as 90 where 0.9 was meant.

    The criterion's `never_exit_threshold`, and the end of its range on that side, are allowed: they say that no image
    exits early.

    Args:
        criterion_name: one of `CRITERIA`, unless the criterion is given.
        thresholds: shared by all early exits, or one for each.
        num_classes: C.
        num_exits: E, the final exit included.
        criterion: of that name, where it is learned.

    Raises:
        UsageError: a threshold lies beyond what a score can be.
        ConfigError: there is no such criterion.
    """
    criterion = criterion or find_criterion(criterion_name)
    most_confident, _ = criterion.uncertainty_range(num_classes, num_exits)
    for threshold in thresholds:
        unreachable = criterion.uncertainty_limit(threshold) < most_confident
        if unreachable and threshold != criterion.never_exit_threshold:
            lowest, highest = criterion.span(num_classes, num_exits)
            raise UsageError(
                f"at a threshold of {threshold:g} no image could ever exit early: {criterion_name} ({criterion.unit}) "
                f"lies between {lowest:.4g} and {highest:.4g} here; give a threshold in that range, or none"
            )


def describe_effect(criterion: Criterion, thresholds: Sequence[float], num_classes: int, num_exits: int) -> str | None:
    """What thresholds do whatever the image: `no image exits early`, `every image exits at the first exit`, or None.

    Args:
        criterion: what they are compared with.
        thresholds: of each early exit.
        num_classes: C.
        num_exits: E, the final exit included.
    """
    most_confident, least_confident = criterion.uncertainty_range(num_classes, num_exits)
    limits = [criterion.uncertainty_limit(threshold) for threshold in thresholds]
    if all(limit <= most_confident for limit in limits):
        return "no image exits early"
    if limits[0] > least_confident + _ROUNDING:
        return "every image exits at the first exit"
    return None
