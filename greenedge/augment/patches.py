"""Augmentations that treat parts of an image."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from greenedge.augment.geometric import turn_quarters
from greenedge.augment.selection import apply_to_random_subset, random_spans, uniform
from greenedge.config.convert import Count, FractionAboveZero, Probability
from greenedge.data.loader import Batch, to_device


def cutout(batch: Batch, generator: Generator, *, size: Count = 16, probability: Probability = 1.0) -> Batch:
    """Blackens a square around a random place of each image (DeVries and Taylor 2017).

    Args:
        batch: images (B, 3, H, W).
        generator: draws the places, anywhere in the image; what lies outside is cut off.
        size: pixels a side of the square.
        probability: of an image being changed at all.
    """

    def erase(images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        side = torch.full((count,), float(size))
        return _blacken(images, random_spans(side, height, generator), random_spans(side, width, generator))

    return apply_to_random_subset(batch, generator, probability, erase)


def random_erasing(
    batch: Batch,
    generator: Generator,
    *,
    min_area: FractionAboveZero = 0.02,
    max_area: FractionAboveZero = 0.33,
    probability: Probability = 0.5,
) -> Batch:
    """Blackens a rectangle around a random place of each image (Zhong et al. 2017).

    Args:
        batch: images (B, 3, H, W).
        generator: draws places and sizes; what lies outside is cut off.
        min_area: of the rectangle, as a share of the image.
        max_area: likewise.
        probability: of an image being changed at all.
    """

    def erase(images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        area = uniform(count, min_area, max_area, generator)
        ratio = uniform(count, -1.2, 1.2, generator).exp()  # of the sides: from 0.3 to 3.3, as in the paper
        rows = random_spans((area * ratio).sqrt().clamp(max=1) * height, height, generator)
        columns = random_spans((area / ratio).sqrt().clamp(max=1) * width, width, generator)
        return _blacken(images, rows, columns)

    return apply_to_random_subset(batch, generator, probability, erase)


def local_augment(
    batch: Batch,
    generator: Generator,
    *,
    grid: Count = 4,
    rotate: bool = True,
    shuffle: bool = True,
    probability: Probability = 0.5,
) -> Batch:
    """Cuts each image into patches, turns each by a random number of quarters and puts them into a random order.

    After Local Augment (Kim et al. 2021), in the form that the report describes. Pixels that do not fill a patch, at
    the right and lower border, stay.

    Args:
        batch: images (B, 3, S, S).
        generator: draws turns and orders.
        grid: patches a side.
        rotate: turn the patches.
        shuffle: reorder the patches.
        probability: of an image being changed at all.

    Raises:
        ValueError: the images are not square, or smaller than the grid.
    """

    def change(images: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        side = min(height, width) // grid
        if side == 0:
            raise ValueError(f"grid is {grid}, more patches a side than the images have pixels ({min(height, width)})")
        inner = images[..., : grid * side, : grid * side]
        patches = inner.reshape(count, channels, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(count * grid * grid, channels, side, side)
        if rotate:
            patches = turn_quarters(patches, torch.randint(0, 4, (len(patches),), generator=generator))
        if shuffle:
            order = torch.rand(count, grid * grid, generator=generator).argsort(dim=1)
            rows = grid * grid * torch.arange(count).view(-1, 1) + order
            patches = patches.index_select(0, to_device(rows.flatten(), images.device))
        patches = patches.view(count, grid, grid, channels, side, side).permute(0, 3, 1, 4, 2, 5)
        changed = images.clone()
        changed[..., : grid * side, : grid * side] = patches.reshape(inner.shape)
        return changed

    return apply_to_random_subset(batch, generator, probability, change)


def _blacken(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    covered = to_device(rows[:, None, :, None] & columns[:, None, None, :], images.device)
    return images.masked_fill(covered, 0)
