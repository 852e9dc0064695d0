"""Helpers of the augmentations: random numbers, and changing some of a batch's images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor

from greenedge.data.loader import Batch, to_device


def uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """Draws float32 (count,) uniformly from [low, high).

    Raises:
        ValueError: `low` is above `high`.
    """
    if low > high:
        raise ValueError(f"the range from {low:g} to {high:g} is empty; the first number must not be above the second")
    return low + (high - low) * torch.rand(count, generator=generator)


def random_spans(length: Tensor, size: int, generator: Generator) -> Tensor:
    """Marks a random span for each length in pixels (N,), as bool (N, size).

    The centres are uniform, and spans are clipped at the border.
    """
    centre = torch.rand(len(length), 1, generator=generator) * size
    return (torch.arange(size) + 0.5 - centre).abs() < length.view(-1, 1) / 2


def signs(count: int, generator: Generator) -> Tensor:
    """Draws float32 (count,) of -1 or 1, equally likely."""
    return torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1


def apply_to_random_subset(
    batch: Batch, generator: Generator, probability: float, change: Callable[[Tensor], Tensor]
) -> Batch:
    """Changes each image with the given probability.

    Args:
        batch: images (B, 3, H, W).
        generator: chooses the images.
        probability: that an image is changed.
        change: from the chosen images (n, 3, H, W) to as many images of the same type.
    """
    images = batch.images
    if probability >= 1:
        return replace(batch, images=change(images))
    chosen = (torch.rand(len(images), generator=generator) < probability).nonzero().flatten()
    chosen = to_device(chosen, images.device)
    if len(chosen) == 0:
        return batch
    return replace(batch, images=images.index_copy(0, chosen, change(images.index_select(0, chosen))))


def unit_range(images: Tensor) -> Tensor:
    """Float images in [0, 1]: uint8 ones divided by 255, others as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def stored_range(images: Tensor) -> Tensor:
    """The uint8 images that are nearest to float ones in [0, 1]; uint8 ones as they are."""
    return images if images.dtype == torch.uint8 else images.mul(255).round().to(torch.uint8)


def as_float(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Extends a change of float images to uint8 ones, by scaling to [0, 1] before it and rounding after it."""

    def changed(images: Tensor) -> Tensor:
        if images.dtype != torch.uint8:
            return change(images).clamp(0, 1)
        return change(images.float() / 255).mul_(255).round_().clamp_(0, 255).to(torch.uint8)

    return changed


def apply_random_magnitude(
    batch: Batch,
    generator: Generator,
    probability: float,
    operation: Callable[[Tensor, Tensor], Tensor],
    low: float,
    high: float,
) -> Batch:
    """Applies the operation to each image with its own amount, drawn uniformly from [low, high)."""

    def change(images: Tensor) -> Tensor:
        return operation(images, uniform(len(images), low, high, generator))

    return apply_to_random_subset(batch, generator, probability, as_float(change))
