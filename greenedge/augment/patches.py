"""Augmentations that change parts of an image."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from greenedge.augment.geometric import turn_quarters
from greenedge.augment.selection import apply_to_random_subset, random_spans, uniform
from greenedge.config.convert import Count, FractionAboveZero, Probability
from greenedge.data.loader import Batch, to_device


def cutout(batch: Batch, generator: Generator, *, size: Count = 16, probability: Probability = 1.0) -> Batch:
    """Blackens a square around a random point of each image (DeVries and Taylor 2017).

    Args:
        batch: images (B, 3, H, W).
        generator: draws the points, anywhere in the image; the square is clipped at the border.
        size: side of the square in pixels.
        probability: that an image is changed.
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
    """Blackens a rectangle around a random point of each image (Zhong et al. 2017).

    Args:
        batch: images (B, 3, H, W).
        generator: draws points and sizes; the rectangle is clipped at the border.
        min_area: smallest area of the rectangle, as a fraction of the image's.
        max_area: largest area, likewise.
        probability: that an image is changed.
    """

    def erase(images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        area = uniform(count, min_area, max_area, generator)
        # The ratio of the sides lies between 0.3 and 3.3, as in Zhong et al.
        ratio = uniform(count, -1.2, 1.2, generator).exp()
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
    """Cuts each image into patches, rotates each by random quarter turns and puts them into a random order.

    Follows Local Augment (Kim et al. 2021) in the form that the paper describes. Pixels at the right and lower border
    that do not fill a patch are unchanged.

    Args:
        batch: images (B, 3, S, S).
        generator: draws turns and orders.
        grid: patches per side.
        rotate: rotate the patches.
        shuffle: reorder the patches.
        probability: that an image is changed.

    Raises:
        ValueError: the images are not square, or smaller than the grid.
    """

    def change(images: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        side = min(height, width) // grid
        if side == 0:
            raise ValueError(
                f"grid is {grid}, more patches per side than the images have pixels ({min(height, width)})"
            )

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
