"""Augmentations that change colours and move no pixels."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from greenedge.augment import operations
from greenedge.augment.selection import apply_random_magnitude, apply_to_random_subset, as_float, uniform
from greenedge.config.convert import NonNegative, Positive, Probability
from greenedge.data.loader import Batch, to_device


def brightness(
    batch: Batch, generator: Generator, *, strength: Probability = 0.3, probability: Probability = 1.0
) -> Batch:
    """Multiplies the pixels of each image by one factor between 1 - strength and 1 + strength."""
    low, high = 1 - strength, 1 + strength
    return apply_random_magnitude(batch, generator, probability, operations.brightness, low, high)


def contrast(
    batch: Batch, generator: Generator, *, strength: Probability = 0.3, probability: Probability = 1.0
) -> Batch:
    """Multiplies each image's distance from its mean grey by a factor between 1 - strength and 1 + strength."""
    low, high = 1 - strength, 1 + strength
    return apply_random_magnitude(batch, generator, probability, operations.contrast, low, high)


def gaussian_noise(
    batch: Batch, generator: Generator, *, std: NonNegative = 0.05, probability: Probability = 1.0
) -> Batch:
    """Adds independent normal noise to every channel of every pixel.

    Args:
        batch: images (B, 3, H, W).
        generator: draws the noise; for images on a GPU, the seed of a generator there.
        std: standard deviation, for pixels in [0, 1].
        probability: that an image is changed.
    """

    def add(images: Tensor) -> Tensor:
        if images.device.type == "cpu":
            return images + std * torch.randn(images.shape, generator=generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        own = Generator(images.device).manual_seed(seed)
        return images + std * torch.randn(images.shape, generator=own, device=images.device)

    return apply_to_random_subset(batch, generator, probability, as_float(add))


def blur(
    batch: Batch,
    generator: Generator,
    *,
    min_sigma: Positive = 0.1,
    max_sigma: Positive = 1.0,
    probability: Probability = 1.0,
) -> Batch:
    """Blurs each image with a Gaussian of random width.

    Args:
        batch: images (B, 3, H, W).
        generator: draws the widths.
        min_sigma: smallest standard deviation, in pixels.
        max_sigma: largest standard deviation, in pixels; the kernel reaches three times as far.
        probability: that an image is changed.

    Raises:
        ValueError: the kernel reaches beyond the image.
    """
    reach = max(1, round(3 * max_sigma))
    if reach >= min(batch.images.shape[-2:]):
        raise ValueError(f"max_sigma is {max_sigma:g} pixels, too wide for images of {batch.images.shape[-1]} pixels")

    def smooth(images: Tensor) -> Tensor:
        sigma = uniform(len(images), min_sigma, max_sigma, generator).view(-1, 1)
        offset = torch.arange(-reach, reach + 1)
        weights = to_device(torch.softmax(-(offset**2) / (2 * sigma**2), dim=1).to(images.dtype), images.device)
        for dim in (-2, -1):
            images = _weighted_neighbours(images, weights, dim)
        return images

    return apply_to_random_subset(batch, generator, probability, as_float(smooth))


def channel_shuffle(batch: Batch, generator: Generator, *, probability: Probability = 0.25) -> Batch:
    """Puts the three colour channels of each image into a random order, with the given probability."""

    def shuffle(images: Tensor) -> Tensor:
        order = to_device(torch.rand(len(images), 3, generator=generator).argsort(dim=1), images.device)
        rows = 3 * torch.arange(len(images), device=images.device).view(-1, 1) + order
        return images.flatten(0, 1).index_select(0, rows.flatten()).view(images.shape)

    return apply_to_random_subset(batch, generator, probability, shuffle)


def _weighted_neighbours(images: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Convolves each image along one dimension with its own weights (N, K); the border is mirrored."""
    reach = weights.shape[1] // 2
    padded = F.pad(images, [0, 0, reach, reach] if dim == -2 else [reach, reach, 0, 0], mode="reflect")
    size = images.shape[dim]
    total = torch.zeros_like(images)
    for offset in range(weights.shape[1]):
        total.addcmul_(padded.narrow(dim, offset, size), weights[:, offset].view(-1, 1, 1, 1))
    return total
