"""Automatic policies: operations drawn for each image from a fixed list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Generator, Tensor

from greenedge.augment import operations
from greenedge.augment.selection import apply_to_random_subset, as_float, signs
from greenedge.config.convert import Count, Probability, Range
from greenedge.data.loader import Batch, to_device

# Strengths are whole numbers from 0 to 30, as in TrivialAugment and RandAugment.
_LEVELS = 31
Magnitude = Annotated[int, Range(minimum=0, maximum=_LEVELS - 1)]


@dataclass(frozen=True)
class PolicyOp:
    """One operation of a policy and the range of its amounts.

    Attributes:
        operation: (images, amounts) -> images.
        base: the amount that changes nothing.
        max_delta: change of the amount at the greatest strength.
        signed: whether the change is added or subtracted at random.
        of_side: whether `max_delta` is a fraction of the image's side, as for translations.
    """

    operation: Callable[[Tensor, Tensor], Tensor]
    base: float = 0.0
    max_delta: float = 0.0
    signed: bool = False
    of_side: bool = False

    def amounts(self, strength: Tensor, side: int, generator: Generator) -> Tensor:
        """Returns amounts (n,) for strengths (n,) from 0 to 30."""
        change = strength / (_LEVELS - 1) * self.max_delta * (side if self.of_side else 1)
        return self.base + (change * signs(len(strength), generator) if self.signed else change)


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    return operations.posterize(images, bits.round())


# The wide list of TrivialAugment and the list of RandAugment, as in torchvision.
TRIVIAL_AUGMENT = (
    PolicyOp(operations.identity),
    PolicyOp(operations.shear_x, max_delta=0.99, signed=True),
    PolicyOp(operations.shear_y, max_delta=0.99, signed=True),
    PolicyOp(operations.translate_x, max_delta=0.5, signed=True, of_side=True),
    PolicyOp(operations.translate_y, max_delta=0.5, signed=True, of_side=True),
    PolicyOp(operations.rotate, max_delta=135, signed=True),
    PolicyOp(operations.brightness, base=1, max_delta=0.99, signed=True),
    PolicyOp(operations.saturation, base=1, max_delta=0.99, signed=True),
    PolicyOp(operations.contrast, base=1, max_delta=0.99, signed=True),
    PolicyOp(operations.sharpness, base=1, max_delta=0.99, signed=True),
    PolicyOp(_posterize, base=8, max_delta=-6),
    PolicyOp(operations.solarize, base=1, max_delta=-1),
    PolicyOp(operations.autocontrast),
    PolicyOp(operations.equalize),
)
RAND_AUGMENT = (
    PolicyOp(operations.identity),
    PolicyOp(operations.shear_x, max_delta=0.3, signed=True),
    PolicyOp(operations.shear_y, max_delta=0.3, signed=True),
    PolicyOp(operations.translate_x, max_delta=150 / 331, signed=True, of_side=True),
    PolicyOp(operations.translate_y, max_delta=150 / 331, signed=True, of_side=True),
    PolicyOp(operations.rotate, max_delta=30, signed=True),
    PolicyOp(operations.brightness, base=1, max_delta=0.9, signed=True),
    PolicyOp(operations.saturation, base=1, max_delta=0.9, signed=True),
    PolicyOp(operations.contrast, base=1, max_delta=0.9, signed=True),
    PolicyOp(operations.sharpness, base=1, max_delta=0.9, signed=True),
    PolicyOp(_posterize, base=8, max_delta=-4),
    PolicyOp(operations.solarize, base=1, max_delta=-1),
    PolicyOp(operations.autocontrast),
    PolicyOp(operations.equalize),
)


def trivial_augment(batch: Batch, generator: Generator, *, probability: Probability = 1.0) -> Batch:
    """Applies one operation of random strength to each image (Müller and Hutter 2021, TrivialAugment, wide list).

    Translations reach half the image's side, like torchvision's 32 pixels for images of 64. Shears keep the centre in
    place.
    """

    def change(images: Tensor) -> Tensor:
        strength = torch.randint(0, _LEVELS, (len(images),), generator=generator)
        return _apply(images, TRIVIAL_AUGMENT, strength, generator)

    return apply_to_random_subset(batch, generator, probability, as_float(change))


def rand_augment(
    batch: Batch,
    generator: Generator,
    *,
    count: Count = 2,
    magnitude: Magnitude = 9,
    probability: Probability = 1.0,
) -> Batch:
    """Applies `count` random operations of one strength to each image (Cubuk et al. 2019, RandAugment).

    Args:
        batch: images (B, 3, H, W).
        generator: draws the operations and their signs.
        count: operations per image.
        magnitude: their strength, from 0 to 30.
        probability: that an image is changed.
    """

    def change(images: Tensor) -> Tensor:
        for _ in range(count):
            strength = torch.full((len(images),), magnitude)
            images = _apply(images, RAND_AUGMENT, strength, generator)
        return images

    return apply_to_random_subset(batch, generator, probability, as_float(change))


def _apply(images: Tensor, operators: Sequence[PolicyOp], strength: Tensor, generator: Generator) -> Tensor:
    """Applies one random operation to each image; images that drew the same one are processed together."""
    drawn = torch.randint(0, len(operators), (len(images),), generator=generator)
    changed = images.clone()
    for index, operator in enumerate(operators):
        rows = (drawn == index).nonzero().flatten()
        if len(rows) > 0:
            amounts = operator.amounts(strength[rows], images.shape[-1], generator)
            selected = to_device(rows, images.device)
            changed[selected] = operator.operation(images[selected], amounts).clamp(0, 1)
    return changed
