"""How sure an exit is: scores that thresholds are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from greenedge.config.convert import suggestion
from greenedge.errors import ConfigError
from greenedge.models.entropy import entropy


@dataclass(frozen=True)
class Criterion:
    """A score of how sure an answer is, and which side of the threshold leaves.

    Attributes:
        score: from logits (..., C) to scores (...).
        unit: of the score and its threshold.
        leaves_below: True: an image leaves where its score is strictly below T; False: strictly above T.
        never: a threshold at which nothing leaves early.
    """

    score: Callable[[Tensor], Tensor]
    unit: str
    leaves_below: bool
    never: float

    def uncertainty(self, logits: np.ndarray) -> np.ndarray:
        """float32 (...): the score of logits (..., C), turned so that smaller is surer."""
        scores: np.ndarray = self.score(torch.from_numpy(logits)).numpy()
        return scores if self.leaves_below else -scores

    def surer(self, logits: Tensor, threshold: float) -> Tensor:
        """Bool (...): which logits (..., C) are sure enough to leave."""
        scores = self.score(logits).double()  # as the sweep compares them
        return scores < threshold if self.leaves_below else scores > threshold

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


CRITERIA: dict[str, Criterion] = {
    "entropy": Criterion(entropy, "nats", leaves_below=True, never=0.0),
    "max_probability": Criterion(max_probability, "probability", leaves_below=False, never=1.0),
    "margin": Criterion(margin, "probability", leaves_below=False, never=1.0),
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
