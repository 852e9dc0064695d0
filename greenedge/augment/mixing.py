"""Augmentations that mix pairs of images and their labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from greenedge.augment.selection import as_float, random_spans, uniform, unit_range
from greenedge.config.convert import FractionAboveZero, Positive, Probability
from greenedge.data.loader import Batch, to_device


def mixup(batch: Batch, generator: Generator, *, alpha: Positive = 0.2, probability: Probability = 1.0) -> Batch:
    """Blends each image, and its label, with another image of the batch (Zhang et al. 2018, mixup).

    x = k x_i + (1 - k) x_j, with k drawn for each image from Beta(alpha, alpha).

    Args:
        batch: images (B, 3, H, W); uint8 ones become float in [0, 1].
        generator: draws partners and mixing weights.
        alpha: parameter of the Beta distribution; small values leave most images nearly unmixed.
        probability: that an image is mixed.
    """
    keep = to_device(own_weights(len(batch.images), alpha, probability, generator), batch.images.device)
    partner = to_device(torch.randperm(len(batch.images), generator=generator), batch.images.device)
    images = unit_range(batch.images)
    mixed = torch.lerp(images[partner], images, keep.view(-1, 1, 1, 1))
    return Batch(mixed, mix_targets(batch, partner, keep), batch.num_classes)


def cutmix(batch: Batch, generator: Generator, *, alpha: Positive = 1.0, probability: Probability = 1.0) -> Batch:
    """Pastes a rectangle of another image of the batch into each image (Yun et al. 2019, CutMix).

    Before it is clipped at the border, the rectangle covers 1 - k of the image, with k drawn for each image from
    Beta(alpha, alpha). The labels are weighted by the areas that are visible.

    Args:
        batch: images (B, 3, H, W).
        generator: draws partners, rectangles and mixing weights.
        alpha: parameter of the Beta distribution; 1 is uniform.
        probability: that an image is mixed.
    """
    count, _, height, width = batch.images.shape
    cut = (1 - own_weights(count, alpha, probability, generator)).sqrt()
    partner = to_device(torch.randperm(count, generator=generator), batch.images.device)
    rows = random_spans(cut * height, height, generator)
    columns = random_spans(cut * width, width, generator)
    pasted = to_device(rows[:, None, :, None] & columns[:, None, None, :], batch.images.device)
    keep = 1 - pasted.float().mean(dim=(1, 2, 3))
    images = torch.where(pasted, batch.images[partner], batch.images)
    return Batch(images, mix_targets(batch, partner, keep), batch.num_classes)


def resizemix(
    batch: Batch,
    generator: Generator,
    *,
    min_scale: FractionAboveZero = 0.1,
    max_scale: FractionAboveZero = 0.8,
    probability: Probability = 1.0,
) -> Batch:
    """Pastes another image of the batch, made smaller, at a random place of each image (Qin et al. 2020, ResizeMix).

    Unlike a part of it, the whole of the other image surely shows what its label says. The sides of the pasted image
    are those of the image times a scale, drawn for each image uniformly; the labels are weighted by the areas.

    Args:
        batch: images (B, 3, H, W).
        generator: draws partners, scales and places.
        min_scale: smallest side of the pasted image over that of the image.
        max_scale: largest, likewise.
        probability: that an image is mixed.

    Raises:
        ValueError: `min_scale` is above `max_scale`.
    """
    count, _, height, width = batch.images.shape
    scales = uniform(count, min_scale, max_scale, generator)
    mixed = torch.rand(count, generator=generator) < probability
    partner = torch.randperm(count, generator=generator)
    place = torch.rand(count, 2, generator=generator)

    # Each image has a size of its own, so they are resized one by one.
    images, keep = batch.images.clone(), torch.ones(count)
    for index in mixed.nonzero().flatten().tolist():
        rows, columns = (max(1, round(float(scales[index]) * side)) for side in (height, width))
        top = int(place[index, 0] * (height - rows + 1))
        left = int(place[index, 1] * (width - columns + 1))
        pasted = _resized(batch.images[partner[index], None], rows, columns)
        images[index, :, top : top + rows, left : left + columns] = pasted[0]
        keep[index] = 1 - rows * columns / (height * width)

    device = batch.images.device
    targets = mix_targets(batch, to_device(partner, device), to_device(keep, device))
    return Batch(images, targets, batch.num_classes)


def _resized(images: Tensor, rows: int, columns: int) -> Tensor:
    def resize(pixels: Tensor) -> Tensor:
        return F.interpolate(pixels, (rows, columns), mode="bilinear", antialias=True)

    return as_float(resize)(images)


def own_weights(count: int, alpha: float, probability: float, generator: Generator) -> Tensor:
    """Draws the weight of each image in its mixture, float32 (count,); 1 where it is not mixed."""
    # torch's Beta takes no generator, so numpy draws.
    seed = int(torch.randint(2**62, (), generator=generator))
    random = np.random.default_rng(seed)
    weights = random.beta(alpha, alpha, size=count)
    weights[random.random(count) >= probability] = 1.0
    return torch.from_numpy(weights).float()


def mix_targets(batch: Batch, partner: Tensor, keep: Tensor) -> Tensor:
    """Probabilities (B, C): each image's target and its partner's, in the shares `keep` (B,) and 1 - keep."""
    targets = batch.targets
    if not targets.is_floating_point():
        targets = F.one_hot(targets, batch.num_classes).float()
    return torch.lerp(targets[partner], targets, keep.view(-1, 1))
