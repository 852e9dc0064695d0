"""Objectives: from the losses and logits of all exits to the one number that a step descends.

A component here is a frozen dataclass, whose fields are the options; it is called with what the exits gave for a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from greenedge.config.convert import Positive, Probability
from greenedge.models.gradients import HeadGradient


@dataclass(frozen=True, eq=False)
class StepOutputs:
    """What the exits whose loss counts gave for one batch, first to last.

    Attributes:
        logits: of each exit, (B, C).
        losses: of each exit, the mean of `train.loss` over the batch.
        weights: factor of each exit's loss.
        teacher_logits: (B, C), of `train.teacher` for the same images, or None.
    """

    logits: Sequence[Tensor]
    losses: Sequence[Tensor]
    weights: Sequence[float]
    teacher_logits: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """What all objectives share.

    Attributes:
        head_gradient: how much of the early exits' gradient enters the backbone.
    """

    needs_teacher: ClassVar[bool] = False

    head_gradient: HeadGradient = "full"

    @abstractmethod
    def __call__(self, outputs: StepOutputs) -> Tensor:
        """The number to descend, a scalar."""


@dataclass(frozen=True, kw_only=True)
class WeightedSum(Objective):
    """The sum of all exits' losses, each times its weight (BranchyNet, Teerapittayanon et al. 2016, equation 2).

    Attributes:
        head_gradient: how much of the early exits' gradient enters the backbone: `full`; `equilibrium`, which scales
            gradients where they meet so that each block sees their mean (IMTA, Li et al. 2019); or `detached`, none, so
            that the final exit alone trains the backbone.
    """

    def __call__(self, outputs: StepOutputs) -> Tensor:
        """See `Objective`."""
        return _weighted_sum(outputs.losses, outputs.weights)


@dataclass(frozen=True, kw_only=True)
class SelfDistillation(Objective):
    """Early exits learn from the labels and from the final exit (Be Your Own Teacher, Zhang et al. 2019).

    The last exit that counts has its loss alone; an exit before it has (1 - share) times its loss and share times T^2
    times the Kullback-Leibler divergence of its tempered probabilities from the last one's, which are held constant.

    Attributes:
        share: of the final exit in what an early exit learns from.
        temperature: T, which divides both exits' logits (Hinton et al. 2015).
        head_gradient: how much of the early exits' gradient enters the backbone; see `weighted_sum`.
    """

    share: Probability = 0.5
    temperature: Positive = 2.0

    def __call__(self, outputs: StepOutputs) -> Tensor:
        """See `Objective`."""
        *early, final = outputs.logits
        *losses, final_loss = outputs.losses
        taught = _taught(early, losses, final.detach(), self.share, self.temperature)
        return _weighted_sum([*taught, final_loss], outputs.weights)


@dataclass(frozen=True, kw_only=True)
class TeacherDistillation(Objective):
    """Every exit learns from the labels and from another trained network, `train.teacher` (Hinton et al. 2015).

    Attributes:
        share: of the teacher in what an exit learns from.
        temperature: T, which divides the logits of both; the divergence is multiplied by T^2.
        head_gradient: how much of the early exits' gradient enters the backbone; see `weighted_sum`.
    """

    needs_teacher: ClassVar[bool] = True

    share: Probability = 0.5
    temperature: Positive = 2.0

    def __call__(self, outputs: StepOutputs) -> Tensor:
        """See `Objective`."""
        assert outputs.teacher_logits is not None  # whoever makes the settings sees to it
        taught = _taught(outputs.logits, outputs.losses, outputs.teacher_logits, self.share, self.temperature)
        return _weighted_sum(taught, outputs.weights)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "self_distillation": SelfDistillation,
    "teacher_distillation": TeacherDistillation,
    "weighted_sum": WeightedSum,
}


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean Kullback-Leibler divergence in nats (Hinton et al. 2015, section 2.1).

    Args:
        logits: (B, C), of who learns.
        teacher_logits: (B, C), of whom it learns from.
        temperature: T.
    """
    log_probabilities = F.log_softmax(logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    return F.kl_div(log_probabilities, teacher, reduction="batchmean", log_target=True) * temperature**2


def _taught(
    logits: Sequence[Tensor], losses: Sequence[Tensor], teacher: Tensor, share: float, temperature: float
) -> list[Tensor]:
    """Each exit's loss, mixed with what it has to learn from a teacher."""
    return [
        (1 - share) * loss + share * distillation_loss(each, teacher, temperature)
        for each, loss in zip(logits, losses, strict=True)
    ]


def _weighted_sum(losses: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
