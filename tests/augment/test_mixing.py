from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from greenedge.augment.mixing import cutmix, mixup, resizemix
from greenedge.data.loader import Batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_class_each(count: int, height: int = 9, width: int = 7) -> Batch:
    """Makes random images, each of its own class, so that a label shows which images were mixed."""
    images = torch.randint(0, 256, (count, 3, height, width), generator=seeded(1), dtype=torch.uint8)
    return Batch(images, torch.arange(count), count)


def read_mixture(targets: Tensor, index: int) -> tuple[int, float]:
    """Returns from the label an image's partner and the weight that the image keeps."""
    others = [label for label in targets[index].nonzero().flatten().tolist() if label != index]
    assert len(others) <= 1
    return (others[0] if others else index), float(targets[index, index])


def test_cutmix_takes_pixels_from_two_images_in_proportion_to_the_label() -> None:
    batch = one_class_each(64)
    result = cutmix(batch, seeded(2))
    mixed = 0
    for index, image in enumerate(result.images):
        partner, share = read_mixture(result.targets, index)
        own, pasted = batch.images[index], batch.images[partner]
        from_own, from_partner = (image == own).all(dim=0), (image == pasted).all(dim=0)
        assert (from_own | from_partner).all()
        assert share == pytest.approx(from_own.float().mean().item(), abs=1e-6)
        if partner != index:
            mixed += 1
            rows, columns = (~from_own).any(dim=1), (~from_own).any(dim=0)
            assert torch.equal(~from_own, rows[:, None] & columns[None, :])  # a rectangle
            assert rows.nonzero().max() - rows.nonzero().min() + 1 == rows.sum()  # in one piece
    assert mixed > 32


def test_cutmix_rectangles_reach_every_pixel_and_have_the_area_of_a_uniform_draw() -> None:
    count = 4_000
    images = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 16, 16) / count
    result = cutmix(Batch(images, torch.arange(count), count), seeded(3))
    pasted = (result.images != images)[:, 0].float()
    assert pasted.mean(dim=0).min() > 0.1
    # A rectangle of sides s, s = sqrt(1 - k), around a uniform centre shows (s - s^2 / 4)^2 of itself, with k uniform:
    # the mean of s^2 - s^3 / 2 + s^4 / 16 is 1/2 - 1/5 + 1/48.
    assert pasted.mean().item() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.015)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_mixup_follows_its_formula_with_the_weight_of_the_label(dtype: torch.dtype) -> None:
    whole = one_class_each(64)
    pixels = whole.images.double() / 255
    images = whole.images if dtype == torch.uint8 else whole.images / 255
    result = mixup(Batch(images, whole.targets, 64), seeded(4), alpha=1.0)
    assert result.images.dtype == torch.float32
    shares = []
    for index in range(64):
        partner, share = read_mixture(result.targets, index)
        expected = share * pixels[index] + (1 - share) * pixels[partner]
        torch.testing.assert_close(result.images[index].double(), expected, rtol=0, atol=2e-6)
        shares.append(share)
    assert len(set(shares)) > 32  # drawn for each image


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_weights_have_the_moments_of_a_beta_distribution(alpha: float) -> None:
    count = 3_000
    result = mixup(one_class_each(count, 1, 1), seeded(5), alpha=alpha)
    shares = result.targets.diagonal()
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize("mix", [cutmix, mixup])
@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_mixing_changes_only_the_given_fraction_of_the_images(mix: Callable[..., Batch], probability: float) -> None:
    count = 2_000
    batch = one_class_each(count, 16, 16)
    result = mix(batch, seeded(6), alpha=5.0, probability=probability)
    pixels = batch.images if result.images.dtype == torch.uint8 else batch.images / 255
    whole = result.targets.diagonal() == 1
    assert torch.equal(result.images[whole], pixels[whole])
    assert 1 - whole.float().mean().item() == pytest.approx(probability, abs=0.04 if probability else 0)


@pytest.mark.parametrize("mix", [cutmix, mixup])
def test_mixing_two_images_of_one_class_keeps_the_label(mix: Callable[..., Batch]) -> None:
    batch = one_class_each(8)
    result = mix(Batch(batch.images, torch.full((8,), 2), 4), seeded(7))
    torch.testing.assert_close(result.targets, torch.tensor([[0.0, 0.0, 1.0, 0.0]]).expand(8, 4))


@pytest.mark.parametrize("mix", [cutmix, mixup])
def test_mixing_accepts_labels_that_are_mixed_already(mix: Callable[..., Batch]) -> None:
    batch = one_class_each(8)
    soft = torch.rand(8, 8, generator=seeded(8)).softmax(dim=1)
    hard = mix(batch, seeded(9))
    result = mix(Batch(batch.images, soft, 8), seeded(9))
    torch.testing.assert_close(result.targets, hard.targets @ soft)  # the same draw, the same weights
    assert torch.equal(result.images, hard.images)


@pytest.mark.parametrize("mix", [cutmix, mixup])
def test_mixing_a_batch_of_one_image_uses_the_image_itself(mix: Callable[..., Batch]) -> None:
    batch = one_class_each(1)
    result = mix(batch, seeded(10))
    pixels = batch.images if result.images.dtype == torch.uint8 else batch.images / 255
    torch.testing.assert_close(result.images, pixels)
    assert result.targets.tolist() == [[1.0]]


def test_resizemix_pastes_the_whole_other_image_in_proportion_to_the_label() -> None:
    batch = one_class_each(48, height=40, width=30)
    result = resizemix(batch, seeded(5))
    sides = []
    for index, image in enumerate(result.images):
        partner, share = read_mixture(result.targets, index)
        if partner == index:
            continue
        changed = (image != batch.images[index]).any(dim=0)
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        (top, bottom), (left, right) = ((int(each.min()), int(each.max()) + 1) for each in (rows, columns))
        assert share == pytest.approx(1 - (bottom - top) * (right - left) / (40 * 30))
        # Pillow's reduction with a triangle filter is another program for the same thing.
        other = Image.fromarray(batch.images[partner].permute(1, 2, 0).numpy())
        small = np.asarray(other.resize((right - left, bottom - top), Image.Resampling.BILINEAR)).astype(float)
        pasted = image[:, top:bottom, left:right].permute(1, 2, 0).numpy()
        assert np.abs(pasted - small).max() <= 1
        sides.append((bottom - top) / 40)
    assert len(sides) > 40
    assert 0.1 <= min(sides) < 0.3
    assert 0.6 < max(sides) <= 0.8


def test_resizemix_pastes_everywhere_and_refuses_an_empty_range() -> None:
    count = 2_000
    images = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 16, 16) / count
    result = resizemix(Batch(images, torch.arange(count), count), seeded(6), min_scale=0.25, max_scale=0.25)
    pasted = (result.images != images)[:, 0].float()
    assert pasted.mean().item() == pytest.approx((4 / 16) ** 2, rel=0.01)
    # Of the 13 places along a side, the corner is covered by one, the middle by four.
    assert pasted[:, 0, 0].mean().item() == pytest.approx((1 / 13) ** 2, abs=0.006)
    assert pasted[:, 8, 8].mean().item() == pytest.approx((4 / 13) ** 2, abs=0.03)
    with pytest.raises(ValueError, match=r"the range from 0\.5 to 0\.2 is empty"):
        resizemix(Batch(images, torch.arange(count), count), seeded(), min_scale=0.5, max_scale=0.2)


def test_resizemix_leaves_as_many_images_alone_as_it_should() -> None:
    batch = one_class_each(1_000, height=8, width=8)
    result = resizemix(batch, seeded(7), probability=0.3)
    alone = (result.images == batch.images).flatten(1).all(dim=1)
    assert alone.float().mean().item() == pytest.approx(0.7, abs=0.05)
    assert (result.targets.diagonal()[alone] == 1).all()
