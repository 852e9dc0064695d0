from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from greenedge.augment.photometric import blur, brightness, channel_shuffle, contrast, gaussian_noise
from greenedge.data.loader import Batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(images: torch.Tensor) -> Batch:
    return Batch(images, torch.zeros(len(images), dtype=torch.int64), 1)


def test_brightness_multiplies_each_image_by_a_factor_of_its_own_within_the_strength() -> None:
    images = torch.full((2_000, 3, 2, 2), 0.5)
    result = brightness(batch_of(images), seeded(), strength=0.4).images
    factors = result[:, 0, 0, 0] / 0.5
    assert torch.equal(result, result[:, :1, :1, :1].expand_as(result))
    assert factors.min() < 0.62
    assert factors.min() >= 0.6
    assert 1.38 < factors.max() <= 1.4
    assert factors.mean().item() == pytest.approx(1, abs=0.02)


def test_contrast_keeps_the_mean_grey_and_scales_the_distance_from_it() -> None:
    images = 0.3 + 0.4 * torch.rand(200, 3, 8, 8, generator=seeded(1))
    result = contrast(batch_of(images), seeded(2), strength=0.3).images
    mean = tv.rgb_to_grayscale(images).mean(dim=(1, 2, 3), keepdim=True)
    factors = (result - mean) / (images - mean)
    inside = (images - mean).abs() > 0.05
    for factor, sure in zip(factors, inside, strict=True):
        torch.testing.assert_close(factor[sure], factor[sure][0].expand_as(factor[sure]), rtol=1e-3, atol=1e-3)
        assert 0.699 < factor[sure][0] < 1.301


@pytest.mark.parametrize("std", [0.0, 0.02, 0.1])
def test_gaussian_noise_has_the_given_deviation_and_no_mean(std: float) -> None:
    result = gaussian_noise(batch_of(torch.full((64, 3, 16, 16), 0.5)), seeded(3), std=std).images
    noise = result - 0.5
    assert noise.mean().item() == pytest.approx(0, abs=3e-3)
    assert noise.std().item() == pytest.approx(std, rel=0.02, abs=1e-7)


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.5])
def test_blur_of_one_width_is_torchvisions(sigma: float) -> None:
    images = torch.rand(3, 3, 20, 24, generator=seeded(4))
    result = blur(batch_of(images), seeded(5), min_sigma=sigma, max_sigma=sigma).images
    reach = max(1, round(3 * sigma))
    torch.testing.assert_close(result, tv.gaussian_blur(images, 2 * reach + 1, sigma), rtol=0, atol=1e-5)


def test_blur_draws_a_width_for_each_image() -> None:
    image = torch.rand(1, 3, 16, 16, generator=seeded(6)).expand(50, -1, -1, -1)
    result = blur(batch_of(image), seeded(7)).images
    assert len({round(each.std().item(), 5) for each in result}) > 40


def test_channel_shuffle_draws_every_order_of_whole_channels_equally_often() -> None:
    images = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(6_000, 3, 2, 2)
    result = channel_shuffle(batch_of(images), seeded(8), probability=1.0).images
    orders = [tuple(order) for order in result[:, :, 0, 0].tolist()]
    assert torch.equal(result, result[:, :, :1, :1].expand_as(result))
    assert len(set(orders)) == 6
    assert all(850 < orders.count(order) < 1150 for order in set(orders))


@pytest.mark.parametrize("change", [brightness, contrast, gaussian_noise, blur, channel_shuffle])
def test_photometric_augmentations_change_only_the_given_fraction_of_the_images(change: Callable[..., Batch]) -> None:
    images = torch.randint(0, 256, (2_000, 3, 6, 6), generator=seeded(9), dtype=torch.uint8)
    result = change(batch_of(images), seeded(10), probability=0.3).images
    changed = (result != images).flatten(1).any(dim=1).float().mean().item()
    assert 0.2 < changed < 0.33


def test_blur_refuses_a_kernel_wider_than_the_image() -> None:
    with pytest.raises(ValueError, match="max_sigma is 3 pixels, too wide for images of 8 pixels"):
        blur(batch_of(torch.zeros(1, 3, 8, 8)), seeded(), max_sigma=3.0)
