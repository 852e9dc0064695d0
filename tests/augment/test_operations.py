"""Each operation returns, for each image, what torchvision returns for that image alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from greenedge.augment import operations

BILINEAR = InterpolationMode.BILINEAR
STILL = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], "interpolation": BILINEAR}


def affine(image: Tensor, **change: object) -> Tensor:
    return tv.affine(image, **(STILL | change))


def slope_degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


REFERENCES: dict[Callable[[Tensor, Tensor], Tensor], tuple[list[float], Callable[[Tensor, float], Tensor]]] = {
    operations.rotate: ([-100, -15, 0, 30, 90], lambda x, v: tv.rotate(x, v, BILINEAR)),
    operations.zoom: ([0.5, 0.8, 1, 1.2, 3], lambda x, v: affine(x, scale=v)),
    operations.shear_x: ([-0.9, -0.1, 0, 0.3, 1], lambda x, v: affine(x, shear=[slope_degrees(v), 0.0])),
    operations.shear_y: ([-0.9, -0.1, 0, 0.3, 1], lambda x, v: affine(x, shear=[0.0, slope_degrees(v)])),
    operations.translate_x: ([-7, -1, 0, 2, 30], lambda x, v: affine(x, translate=[int(v), 0])),
    operations.translate_y: ([-7, -1, 0, 2, 30], lambda x, v: affine(x, translate=[0, int(v)])),
    operations.brightness: ([0, 0.3, 1, 1.5, 2], tv.adjust_brightness),
    operations.contrast: ([0, 0.3, 1, 1.5, 2], tv.adjust_contrast),
    operations.saturation: ([0, 0.3, 1, 1.5, 2], tv.adjust_saturation),
    operations.sharpness: ([0, 0.3, 1, 1.5, 2], tv.adjust_sharpness),
    operations.solarize: ([0, 0.2, 0.5, 0.8, 1], tv.solarize),
    operations.autocontrast: ([0, 0, 0, 0, 0], lambda x, _: tv.autocontrast(x)),
    operations.equalize: ([0, 0, 0, 0, 0], lambda x, _: tv.equalize(x)),
    operations.identity: ([0, 0, 0, 0, 0], lambda x, _: x),
}


@pytest.mark.parametrize("operation", REFERENCES, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
def test_operations_equal_torchvisions_for_each_image(
    operation: Callable[[Tensor, Tensor], Tensor], size: tuple[int, int]
) -> None:
    amounts, reference = REFERENCES[operation]
    images = 0.2 + 0.6 * torch.rand(5, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([reference(image, value) for image, value in zip(images, amounts, strict=True)])
    found = operation(images, torch.tensor(amounts, dtype=torch.float32))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_keeps_the_highest_bits(bits: int) -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    found = operations.posterize(levels / 255, torch.tensor([float(bits)]))
    assert torch.equal((found * 255).round().to(torch.uint8), tv.posterize(levels, bits))


def test_translate_shifts_to_the_right_and_down() -> None:
    images = torch.zeros(1, 3, 5, 5)
    images[..., 1, 2] = 1
    moved = operations.translate(images, torch.tensor([1.0]), torch.tensor([2.0]))
    assert moved[0, 0].nonzero().tolist() == [[3, 3]]
