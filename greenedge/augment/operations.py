"""Image operations with one parameter per image; torchvision's take one parameter for a whole batch.

All take float images (N, 3, H, W) in [0, 1] and amounts (N,) on the CPU, and return new images of the same shape, whose
values may lie outside [0, 1]. Where torchvision has the operation, the results equal those of
`torchvision.transforms.v2.functional`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from greenedge.data.loader import to_device


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotates counter-clockwise about the centre; the uncovered corners are black."""
    angle = degrees * (math.pi / 180)
    return warp(images, _matrices(angle.cos(), -angle.sin(), angle.sin(), angle.cos()))


def zoom(images: Tensor, factor: Tensor) -> Tensor:
    """Scales about the centre; a factor above 1 enlarges."""
    return warp(images, _matrices(1 / factor, 0 * factor, 0 * factor, 1 / factor))


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Moves each row sideways by `slope` times its distance from the centre row."""
    one = torch.ones_like(slope)
    return warp(images, _matrices(one, slope, 0 * slope, one))


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Moves each column up or down by `slope` times its distance from the centre column."""
    one = torch.ones_like(slope)
    return warp(images, _matrices(one, 0 * slope, slope, one))


def translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    """Shifts to the right."""
    return translate(images, pixels, 0 * pixels)


def translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    """Shifts downwards."""
    return translate(images, 0 * pixels, pixels)


def translate(images: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Shifts by pixels to the right and down."""
    one, none = torch.ones_like(right), torch.zeros_like(right)
    return warp(images, _matrices(one, none, none, one, -right, -down))


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Samples each image bilinearly by its own affine map; positions outside the image are black.

    Args:
        images: (N, 3, H, W).
        matrices: (N, 2, 3), from positions in the result to positions in the image, in pixels from the centre (x, y).
    """
    height, width = images.shape[-2:]
    # affine_grid's coordinates run from -1 to 1 along each side.
    scale = torch.tensor([[1.0, height / width, 2 / width], [width / height, 1.0, 2 / height]])
    grid = F.affine_grid(
        to_device((matrices * scale).to(images.dtype), images.device), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends towards black (factor 0) or away from it (above 1)."""
    return _blend(images, torch.zeros_like(images[:, :1, :1, :1]), factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends towards the mean grey of the image (factor 0) or away from it (above 1)."""
    return _blend(images, _functional().rgb_to_grayscale(images).mean(dim=(-3, -2, -1), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blends towards the grey image (factor 0) or away from it (above 1)."""
    return _blend(images, _functional().rgb_to_grayscale(images), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends towards a smoothed image (factor 0) or away from it (above 1); border pixels are unchanged."""
    # Smoothing is a 3 x 3 mean with weight 5 in the middle and 1 around it.
    smooth = images.clone()
    inner = smooth[..., 1:-1, 1:-1]
    inner.mul_(4 / 13).add_(F.avg_pool2d(images, 3, stride=1), alpha=9 / 13)
    return _blend(images, smooth, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the highest `bits` of 8."""
    step = to_device((2 ** (8 - bits)).to(images.dtype), images.device).view(-1, 1, 1, 1)
    return (images.mul(255).round() / step).floor() * step / 255


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts what is at least as bright as the threshold, which lies in [0, 1]."""
    return torch.where(
        images >= to_device(threshold.to(images.dtype), images.device).view(-1, 1, 1, 1), 1 - images, images
    )


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Spreads each channel over the whole range."""
    spread: Tensor = _functional().autocontrast(images)
    return spread


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Makes all levels of each channel equally frequent."""
    equal: Tensor = _functional().equalize(images)
    return equal


def identity(images: Tensor, _: Tensor) -> Tensor:
    """Returns the images unchanged."""
    return images


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(
        other.expand_as(images), images, to_device(factor.to(images.dtype), images.device).view(-1, 1, 1, 1)
    ).clamp(0, 1)


def _matrices(
    xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor, x: Tensor | None = None, y: Tensor | None = None
) -> Tensor:
    none = torch.zeros_like(xx)
    columns = [xx, xy, none if x is None else x, yx, yy, none if y is None else y]
    return torch.stack(columns, dim=1).view(-1, 2, 3)


def _functional() -> Any:
    from torchvision.transforms.v2 import functional  # a second, which reading a config need not wait for

    return functional
