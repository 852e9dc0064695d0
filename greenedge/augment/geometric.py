"""Augmentations that move pixels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator
from torch.nn import functional as F

from greenedge.config.convert import Count, Probability
from greenedge.data.loader import Batch


def horizontal_flip(batch: Batch, generator: Generator, *, probability: Probability = 0.5) -> Batch:
    """Mirrors each image left to right with the given probability."""
    return _flip(batch, generator, probability, dim=-1)


def vertical_flip(batch: Batch, generator: Generator, *, probability: Probability = 0.5) -> Batch:
    """Mirrors each image top to bottom with the given probability."""
    return _flip(batch, generator, probability, dim=-2)


def pad_and_crop(batch: Batch, generator: Generator, *, padding: Count = 4) -> Batch:
    """Shifts each image by up to `padding` pixels each way; what comes in from outside is black.

    This is the usual "pad by 4, crop at random" of CIFAR training (He et al. 2016, section 4.2).

    Args:
        batch: images (B, 3, H, W).
        generator: draws the shifts.
        padding: pixels a side.
    """
    count, _, height, width = batch.images.shape
    shifts = torch.randint(0, 2 * padding + 1, (2, count), generator=generator).to(batch.images.device)
    padded = F.pad(batch.images, [padding] * 4)
    # A view of every possible crop: (B, 3, 2 * padding + 1, 2 * padding + 1, H, W); only the chosen ones are copied.
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)
    each = torch.arange(count, device=padded.device)
    return replace(batch, images=crops[each, :, shifts[0], shifts[1]])


def _flip(batch: Batch, generator: Generator, probability: float, dim: int) -> Batch:
    count = len(batch.images)
    chosen = torch.rand(count, generator=generator) < probability
    # Both versions of all images, then one of each: four times as fast as torch.where on uint8.
    both = torch.cat([batch.images, batch.images.flip(dim)])
    rows = torch.arange(count) + count * chosen
    return replace(batch, images=both.index_select(0, rows.to(both.device)))
