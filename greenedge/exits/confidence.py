"""How sure an exit is: scores that thresholds are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from greenedge.config.convert import did_you_mean
from greenedge.errors import ConfigError, UsageError
from greenedge.models.entropy import entropy

# What a criterion remembers of each image from one exit to the next, (..., K); None before the first exit, and for
# criteria that look at one exit only.
CriterionState = Tensor | None
_ROUNDING = 1e-6  # of scores in float32
ScoreExit = Callable[[Tensor, CriterionState], tuple[Tensor, CriterionState]]


@dataclass(frozen=True)
class Criterion:
    """A score of how sure an answer is, and which side of the threshold leaves.

    Attributes:
        score_exit: from one exit's logits (..., C) and the state of the exit before to scores (...) and a new state.
        unit: of the score and its threshold.
        exit_if_below: True: an image leaves where its score is strictly below T; False: strictly above T.
        never_exit_threshold: a threshold at which nothing leaves early.
        span: from the numbers of classes and exits to the least and the largest score that an early exit can have.
    """

    score_exit: ScoreExit
    unit: str
    exit_if_below: bool
    never_exit_threshold: float
    span: Callable[[int, int], tuple[float, float]]

    def uncertainty(self, logits: np.ndarray) -> np.ndarray:
        """float32 (E, ...): the scores of consecutive exits' logits (E, ..., C), turned so that smaller is surer."""
        state: CriterionState = None
        scores = []
        for exit_logits in torch.from_numpy(logits):
            score, state = self.score_exit(exit_logits, state)
            scores.append(score.float())
        stacked = torch.stack(scores) if scores else torch.zeros(logits.shape[:-1])
        found: np.ndarray = stacked.numpy()
        return found if self.exit_if_below else -found

    def should_exit(self, scores: Tensor, threshold: float) -> Tensor:
        """Bool (...): which scores (...) are sure enough; compared in float64, as the sweep does."""
        exact = scores.double()
        return exact < threshold if self.exit_if_below else exact > threshold

    def uncertainty_limit(self, threshold: float) -> float:
        """The threshold on `uncertainty`: leave where it is strictly below."""
        return threshold if self.exit_if_below else -threshold


def max_probability(logits: Tensor) -> Tensor:
    """The largest softmax probability: 1/C to 1."""
    return torch.softmax(logits, dim=-1).amax(dim=-1)


def margin(logits: Tensor) -> Tensor:
    """The largest softmax probability less the second largest (0 where there is one class): 0 to 1."""
    if logits.shape[-1] == 1:
        return torch.ones_like(logits[..., 0])
    largest = torch.softmax(logits, dim=-1).topk(2, dim=-1).values
    return largest[..., 0] - largest[..., 1]


def normalised_entropy(logits: Tensor) -> Tensor:
    """The entropy over its largest value, ln C: 0 to 1, whatever the number of classes (BranchyNet, 2016)."""
    return entropy(logits) / (math.log(logits.shape[-1]) or 1.0)  # of one class the entropy is 0, as is ln C


def agreement(logits: Tensor, state: CriterionState) -> tuple[Tensor, CriterionState]:
    """How many exits in a row, this one included, have given the same answer (PABEE, Zhou et al. 2020).

    "Strictly above T" is PABEE's patience of T: T more exits have said the same as the one before them.

    Args:
        logits: (..., C).
        state: int64 (..., 2) of the exit before: its answer, and how many in a row had given it.
    """
    answer = logits.argmax(dim=-1)
    run = torch.ones_like(answer)
    if state is not None:
        run = torch.where(answer == state[..., 0], state[..., 1] + 1, run)
    return run.float(), torch.stack([answer, run], dim=-1)


def _of_one_exit(score: Callable[[Tensor], Tensor]) -> ScoreExit:
    return lambda logits, _memory: (score(logits), None)


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
        ConfigError: there is none.
    """
    if name not in CRITERIA:
        hint = did_you_mean(name, CRITERIA) or f"known are {', '.join(CRITERIA)}"
        raise ConfigError(f"there is no {name!r}; {hint}", key="criterion")
    return CRITERIA[name]


def check_thresholds(criterion: str, thresholds: Sequence[float], num_classes: int, num_exits: int) -> None:
    """Refuses thresholds that the criterion's scores can never reach, such as 90 where 0.9 was meant.

    The criterion's own `never`, and the end of its range on that side, are allowed: they say that no image exits early.

    Args:
        criterion: a name in `CRITERIA`.
        thresholds: shared by all early exits, or one for each.
        num_classes: C.
        num_exits: E, the final exit included.

    Raises:
        UsageError: a threshold lies beyond what a score can be.
        ConfigError: there is no such criterion.
    """
    rule = find_criterion(criterion)
    lowest, highest = rule.span(num_classes, num_exits)
    for threshold in thresholds:
        beyond = threshold < lowest if rule.exit_if_below else threshold > highest
        if beyond and threshold != rule.never_exit_threshold:
            raise UsageError(
                f"at a threshold of {threshold:g} no image could ever exit early: {criterion} ({rule.unit}) lies "
                f"between {lowest:.4g} and {highest:.4g} here; give a threshold in that range, or none"
            )


def describe_effect(criterion: str, thresholds: Sequence[float], num_classes: int, num_exits: int) -> str | None:
    """What thresholds do whatever the image: `no image exits early`, `every image exits at the first exit`, or None.

    Args:
        criterion: a name in `CRITERIA`.
        thresholds: of each early exit.
        num_classes: C.
        num_exits: E, the final exit included.
    """
    rule = find_criterion(criterion)
    lowest, highest = rule.span(num_classes, num_exits)
    surest, least_sure = (lowest, highest) if rule.exit_if_below else (-highest, -lowest)
    limits = [rule.uncertainty_limit(threshold) for threshold in thresholds]
    if all(limit <= surest for limit in limits):
        return "no image exits early"
    if limits[0] > least_sure + _ROUNDING:
        return "every image exits at the first exit"
    return None
