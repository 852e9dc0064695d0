"""Automatic policies: operations drawn for each image from a fixed list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Generator, Tensor

from greenedge.augment import operations
from greenedge.augment.selection import apply_to_random_subset, as_float, signs
from greenedge.config.convert import Count, CountOrZero, Positive, Probability, Range
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
# The paper's nine operations, none of which resembles a corruption of ImageNet-C.
AUG_MIX = (
    PolicyOp(operations.autocontrast),
    PolicyOp(operations.equalize),
    PolicyOp(_posterize, base=8, max_delta=-4),
    PolicyOp(operations.rotate, max_delta=30, signed=True),
    PolicyOp(operations.solarize, base=1, max_delta=-1),
    PolicyOp(operations.shear_x, max_delta=0.3, signed=True),
    PolicyOp(operations.shear_y, max_delta=0.3, signed=True),
    PolicyOp(operations.translate_x, max_delta=1 / 3, signed=True, of_side=True),
    PolicyOp(operations.translate_y, max_delta=1 / 3, signed=True, of_side=True),
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


def aug_mix(
    batch: Batch,
    generator: Generator,
    *,
    severity: Magnitude = 9,
    width: Count = 3,
    depth: CountOrZero = 0,
    alpha: Positive = 1.0,
) -> Batch:
    """Blends each image with a mixture of chains of random operations on it (Hendrycks et al. 2020, AugMix).

    m x + (1 - m) sum_k w_k chain_k(x), with w drawn for each image from Dirichlet(alpha) and m from Beta(alpha, alpha).
    The label stays; the paper's Jensen-Shannon consistency loss is left out.

    Args:
        batch: images (B, 3, H, W).
        generator: draws chains, operations, strengths and weights.
        severity: the greatest strength, from 0 to 30 (the paper's 3 of 10 is 9); each operation's is uniform below it.
        width: chains per image (the paper's mixture_width).
        depth: operations per chain (its mixture_depth); 0: 1 to 3 at random for each chain.
        alpha: parameter of both distributions.
    """
    seed = int(torch.randint(2**62, (), generator=generator))  # torch's Beta and Dirichlet take no generator
    random = np.random.default_rng(seed)

    def change(images: Tensor) -> Tensor:
        count = len(images)
        own = random.beta(alpha, alpha, size=count)
        weights = (1 - own)[:, None] * random.dirichlet([alpha] * width, size=count)
        mixed = images * _column(own, images)
        for of_chain in weights.T:
            mixed += _chain(images, severity, depth, generator) * _column(of_chain, images)
        return mixed

    return apply_to_random_subset(batch, generator, 1.0, as_float(change))


def _chain(images: Tensor, severity: int, depth: int, generator: Generator) -> Tensor:
    """Applies `depth` random operations to each image in turn; 0: 1 to 3 of them."""
    lengths = torch.randint(1, 4, (len(images),), generator=generator) if depth == 0 else torch.tensor([depth])
    for place in range(int(lengths.max())):
        strength = torch.rand(len(images), generator=generator) * severity
        going_on = to_device(lengths > place, images.device).view(-1, 1, 1, 1)
        images = torch.where(going_on, _apply(images, AUG_MIX, strength, generator), images)
    return images


def _column(weights: np.ndarray, images: Tensor) -> Tensor:
    return to_device(torch.from_numpy(weights).to(images.dtype), images.device).view(-1, 1, 1, 1)


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
