"""What the augmentations share: random numbers, and a change to some of a batch's images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor

from greenedge.data.loader import Batch, to_device


def uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """float32 (count,): drawn evenly from [low, high).

    Raises:
        ValueError: `low` is above `high`.
    """
    if low > high:
        raise ValueError(f"there is nothing between {low:g} and {high:g}; the first must not be above the second")
    return low + (high - low) * torch.rand(count, generator=generator)


def random_spans(length: Tensor, size: int, generator: Generator) -> Tensor:
    """Bool (N, size): for each length in pixels (N,), that many around a uniform centre, cut off at the border."""
    centre = torch.rand(len(length), 1, generator=generator) * size
    return (torch.arange(size) + 0.5 - centre).abs() < length.view(-1, 1) / 2


def signs(count: int, generator: Generator) -> Tensor:
    """float32 (count,): -1 or 1, equally likely."""
    return torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1


def apply_to_random_subset(
    batch: Batch, generator: Generator, probability: float, change: Callable[[Tensor], Tensor]
) -> Batch:
    """Each image is changed with the given probability.

    Args:
        batch: images (B, 3, H, W).
        generator: draws which.
        probability: of an image being changed.
        change: from the chosen images (n, 3, H, W) to as many others, of the same type.
    """
    images = batch.images
    if probability >= 1:
        return replace(batch, images=change(images))
    chosen = (torch.rand(len(images), generator=generator) < probability).nonzero().flatten()
    chosen = to_device(chosen, images.device)
    if len(chosen) == 0:
        return batch
    return replace(batch, images=images.index_copy(0, chosen, change(images.index_select(0, chosen))))


def as_float(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same change for uint8 images too: they are scaled to [0, 1] before it and rounded back after it."""

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
    """The operation with an amount of its own, drawn evenly from [low, high), for each image."""

    def change(images: Tensor) -> Tensor:
        return operation(images, uniform(len(images), low, high, generator))

    return apply_to_random_subset(batch, generator, probability, as_float(change))
