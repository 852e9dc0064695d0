"""Losses of the images at a single exit; their mean is one of those that an objective is made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from greenedge.config.convert import FractionBelowOne


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: FractionBelowOne = 0.0) -> Tensor:
    """Computes the cross entropy of each image in nats, (B,).

    Args:
        logits: (B, C).
        targets: int64 (B,), or probabilities (B, C).
        label_smoothing: fraction of the target that is spread evenly over all classes (Szegedy et al. 2016).
    """
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing, reduction="none")


def bce(logits: Tensor, targets: Tensor, *, label_smoothing: FractionBelowOne = 0.0) -> Tensor:
    """Computes the binary cross entropy of each image in nats, its mean over the classes, (B,).

    Each class is a question of its own, as in "ResNet strikes back" (Wightman et al. 2021); predictions are still the
    class of the largest logit. A mean over C classes is small, so that rates are larger than for cross_entropy.

    Args:
        logits: (B, C).
        targets: int64 (B,), or probabilities (B, C).
        label_smoothing: fraction of the target that is spread evenly over all classes.
    """
    if not targets.is_floating_point():
        targets = F.one_hot(targets, logits.shape[1])
    smooth = (1 - label_smoothing) * targets.float() + label_smoothing / logits.shape[1]
    return F.binary_cross_entropy_with_logits(logits.float(), smooth, reduction="none").mean(dim=1)


def balanced_weights(labels: np.ndarray, num_classes: int) -> Tensor:
    """The weight of each class that makes all classes count alike: N / (classes that have images x its images).

    Args:
        labels: int64 (N,), of the training images.
        num_classes: C.

    Returns:
        float32 (C,), whose mean over the images is 1; 0 for a class without images.
    """
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)) * (counts > 0)
    return torch.from_numpy(weights).float()


LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": bce,
    "cross_entropy": cross_entropy,
}
