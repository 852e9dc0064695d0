"""Losses of a single exit; the training loop adds them up over the exits."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from greenedge.config.convert import FractionBelowOne


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: FractionBelowOne = 0.0) -> Tensor:
    """Computes the mean cross entropy in nats.

    Args:
        logits: (B, C).
        targets: int64 (B,), or probabilities (B, C).
        label_smoothing: fraction of the target that is spread evenly over all classes (Szegedy et al. 2016).
    """
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
}
