"""Augmentations that move pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from greenedge.augment import operations
from greenedge.augment.selection import apply_random_magnitude, apply_to_random_subset, as_float, uniform
from greenedge.config.convert import AtLeastOne, Count, FractionAboveZero, NonNegative, Positive, Probability
from greenedge.data.loader import Batch, to_device


def horizontal_flip(batch: Batch, generator: Generator, *, probability: Probability = 0.5) -> Batch:
    """Mirrors each image left to right with the given probability."""
    return _flip(batch, generator, probability, dim=-1)


def vertical_flip(batch: Batch, generator: Generator, *, probability: Probability = 0.5) -> Batch:
    """Mirrors each image top to bottom with the given probability."""
    return _flip(batch, generator, probability, dim=-2)


def pad_and_crop(batch: Batch, generator: Generator, *, padding: Count = 4) -> Batch:
    """Shifts each image by up to `padding` pixels along each axis; the uncovered border is black.

    This is the usual "pad by 4, crop at random" of CIFAR training (He et al. 2016, section 4.2).

    Args:
        batch: images (B, 3, H, W).
        generator: draws the shifts.
        padding: pixels per side.
    """
    count, _, height, width = batch.images.shape
    shifts = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
    return replace(batch, images=_crops(F.pad(batch.images, [padding] * 4), shifts[0], shifts[1], height, width))


def rotate(batch: Batch, generator: Generator, *, degrees: NonNegative = 15.0, probability: Probability = 1.0) -> Batch:
    """Rotates each image about its centre by up to `degrees` either way; the uncovered corners are black."""
    return apply_random_magnitude(batch, generator, probability, operations.rotate, -degrees, degrees)


def rotate_quarter(batch: Batch, generator: Generator, *, probability: Probability = 0.25) -> Batch:
    """Rotates each image by 90, 180 or 270 degrees, equally likely, with the given probability.

    Raises:
        ValueError: the images are not square.
    """

    def turn(images: Tensor) -> Tensor:
        turns = torch.randint(1, 4, (len(images),), generator=generator)
        return turn_quarters(images, turns)

    return apply_to_random_subset(batch, generator, probability, turn)


def scale(
    batch: Batch, generator: Generator, *, low: Positive = 0.8, high: Positive = 1.2, probability: Probability = 1.0
) -> Batch:
    """Zooms each image about its centre by a factor between `low` and `high`; an uncovered border is black."""
    return apply_random_magnitude(batch, generator, probability, operations.zoom, low, high)


def translate(batch: Batch, generator: Generator, *, share: Probability = 0.1, probability: Probability = 1.0) -> Batch:
    """Shifts each image by up to `share` of its width and height either way; the uncovered border is black."""
    height, width = batch.images.shape[-2:]

    def shift(images: Tensor) -> Tensor:
        right = uniform(len(images), -share * width, share * width, generator)
        down = uniform(len(images), -share * height, share * height, generator)
        return operations.translate(images, right, down)

    return apply_to_random_subset(batch, generator, probability, as_float(shift))


def shear(batch: Batch, generator: Generator, *, slope: NonNegative = 0.1, probability: Probability = 1.0) -> Batch:
    """Shears each image sideways by up to `slope` (pixels per row) either way; the uncovered border is black."""
    return apply_random_magnitude(batch, generator, probability, operations.shear_x, -slope, slope)


def resize_and_crop(batch: Batch, generator: Generator, *, size: Count = 72, probability: Probability = 1.0) -> Batch:
    """Enlarges each image (bicubic) to `size` pixels per side and takes a random crop of the original size.

    Raises:
        ValueError: `size` is smaller than the images.
    """
    height, width = batch.images.shape[-2:]
    if size < max(height, width):
        raise ValueError(f"size is {size} and must be at least the images' {max(height, width)} pixels")

    def enlarge_and_crop(images: Tensor) -> Tensor:
        large = F.interpolate(images, (size, size), mode="bicubic", antialias=True)
        tops = torch.randint(0, size - height + 1, (len(images),), generator=generator)
        lefts = torch.randint(0, size - width + 1, (len(images),), generator=generator)
        return _crops(large, tops, lefts, height, width)

    return apply_to_random_subset(batch, generator, probability, as_float(enlarge_and_crop))


def random_resized_crop(
    batch: Batch,
    generator: Generator,
    *,
    min_area: FractionAboveZero = 0.25,
    max_ratio: AtLeastOne = 4 / 3,
    probability: Probability = 1.0,
) -> Batch:
    """Enlarges a random crop of each image (bilinear) to the image's size (Szegedy et al. 2015, Inception).

    Args:
        batch: images (B, 3, H, W).
        generator: draws the crops.
        min_area: smallest crop, as a fraction of the image's area; the largest is the whole image.
        max_ratio: largest aspect ratio of the crop (longer side over shorter), relative to the image's.
        probability: that an image is changed.
    """
    height, width = batch.images.shape[-2:]

    def crop(images: Tensor) -> Tensor:
        count = len(images)
        area = uniform(count, min_area, 1, generator)
        ratio = uniform(count, -math.log(max_ratio), math.log(max_ratio), generator).exp()
        across, down = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)

        x = (torch.rand(count, generator=generator) - 0.5) * (1 - across) * width
        y = (torch.rand(count, generator=generator) - 0.5) * (1 - down) * height
        none = torch.zeros_like(across)
        matrices = torch.stack([across, none, x, none, down, y], dim=1).view(-1, 2, 3)
        return operations.warp(images, matrices)

    return apply_to_random_subset(batch, generator, probability, as_float(crop))


def _flip(batch: Batch, generator: Generator, probability: float, dim: int) -> Batch:
    count = len(batch.images)
    chosen = torch.rand(count, generator=generator) < probability
    # Making both versions and selecting one of each is four times as fast as torch.where on uint8.
    both = torch.cat([batch.images, batch.images.flip(dim)])
    rows = torch.arange(count) + count * chosen
    return replace(batch, images=both.index_select(0, to_device(rows, both.device)))


def turn_quarters(images: Tensor, turns: Tensor) -> Tensor:
    """Rotates each square image (N, 3, S, S) counter-clockwise by its number of quarter turns (N,).

    Raises:
        ValueError: the images are not square.
    """
    if images.shape[-1] != images.shape[-2]:
        raise ValueError(f"quarter turns need square images, not {images.shape[-1]} x {images.shape[-2]} pixels")
    count = len(images)
    every = torch.cat([images.rot90(k, dims=(-2, -1)) for k in range(4)])
    return every.index_select(0, to_device(torch.arange(count) + count * turns, images.device))


def _crops(images: Tensor, tops: Tensor, lefts: Tensor, height: int, width: int) -> Tensor:
    """Takes one crop of height x width from each image."""
    # `every` is a view of all possible crops (N, 3, rows, columns, height, width); only the chosen ones are copied.
    every = images.unfold(2, height, 1).unfold(3, width, 1)
    each = torch.arange(len(images), device=images.device)
    return every[each, :, to_device(tops, images.device), to_device(lefts, images.device)]
