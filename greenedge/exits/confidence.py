"""How sure an exit is: scores that thresholds are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from greenedge.config.convert import suggestion
from greenedge.errors import ConfigError
from greenedge.models.entropy import entropy

# What a criterion remembers of each image from one exit to the next, (..., K); None before the first exit, and for
# criteria that look at one exit only.
Memory = Tensor | None
Step = Callable[[Tensor, Memory], tuple[Tensor, Memory]]


@dataclass(frozen=True)
class Criterion:
    """A score of how sure an answer is, and which side of the threshold leaves.

    Attributes:
        step: from one exit's logits (..., C) and the memory of the exit before to scores (...) and a new memory.
        unit: of the score and its threshold.
        leaves_below: True: an image leaves where its score is strictly below T; False: strictly above T.
        never: a threshold at which nothing leaves early.
    """

    step: Step
    unit: str
    leaves_below: bool
    never: float

    def uncertainty(self, logits: np.ndarray) -> np.ndarray:
        """float32 (E, ...): the scores of consecutive exits' logits (E, ..., C), turned so that smaller is surer."""
        memory: Memory = None
        scores = []
        for exit_logits in torch.from_numpy(logits):
            score, memory = self.step(exit_logits, memory)
            scores.append(score.float())
        stacked = torch.stack(scores) if scores else torch.zeros(logits.shape[:-1])
        found: np.ndarray = stacked.numpy()
        return found if self.leaves_below else -found

    def leaves(self, scores: Tensor, threshold: float) -> Tensor:
        """Bool (...): which scores (...) are sure enough; compared in float64, as the sweep does."""
        exact = scores.double()
        return exact < threshold if self.leaves_below else exact > threshold

    def limit(self, threshold: float) -> float:
        """The threshold on `uncertainty`: leave where it is strictly below."""
        return threshold if self.leaves_below else -threshold


def max_probability(logits: Tensor) -> Tensor:
    """The largest softmax probability: 1/C to 1."""
    return torch.softmax(logits, dim=-1).amax(dim=-1)


def margin(logits: Tensor) -> Tensor:
    """The largest softmax probability less the second largest: 0 to 1."""
    largest = torch.softmax(logits, dim=-1).topk(2, dim=-1).values
    return largest[..., 0] - largest[..., 1]


def normalised_entropy(logits: Tensor) -> Tensor:
    """The entropy over its largest value, ln C: 0 to 1, whatever the number of classes (BranchyNet, 2016)."""
    return entropy(logits) / math.log(logits.shape[-1])


def agreement(logits: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
    """How many exits in a row, this one included, have given the same answer (PABEE, Zhou et al. 2020).

    "Strictly above T" is PABEE's patience of T: T more exits have said the same as the one before them.

    Args:
        logits: (..., C).
        memory: int64 (..., 2) of the exit before: its answer, and how many in a row had given it.
    """
    answer = logits.argmax(dim=-1)
    run = torch.ones_like(answer)
    if memory is not None:
        run = torch.where(answer == memory[..., 0], memory[..., 1] + 1, run)
    return run.float(), torch.stack([answer, run], dim=-1)


def _of_one_exit(score: Callable[[Tensor], Tensor]) -> Step:
    return lambda logits, _memory: (score(logits), None)


CRITERIA: dict[str, Criterion] = {
    "entropy": Criterion(_of_one_exit(entropy), "nats", leaves_below=True, never=0.0),
    "normalised_entropy": Criterion(_of_one_exit(normalised_entropy), "share of ln C", leaves_below=True, never=0.0),
    "max_probability": Criterion(_of_one_exit(max_probability), "probability", leaves_below=False, never=1.0),
    "margin": Criterion(_of_one_exit(margin), "probability", leaves_below=False, never=1.0),
    # No network has a thousand exits.
    "patience": Criterion(agreement, "exits in agreement", leaves_below=False, never=1000.0),
}


def find_criterion(name: str) -> Criterion:
    """The criterion of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in CRITERIA:
        hint = suggestion(name, CRITERIA) or f"known are {', '.join(CRITERIA)}"
        raise ConfigError(f"there is no {name!r}; {hint}", key="criterion")
    return CRITERIA[name]
