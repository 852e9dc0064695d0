from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from greenedge.augment import horizontal_flip, pad_and_crop, vertical_flip
from greenedge.data.loader import Batch


def some_batch(count: int, height: int = 6, width: int = 5, dtype: torch.dtype = torch.uint8) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    return Batch(images if dtype == torch.uint8 else images / 255, torch.arange(count), count)


def crops_by_hand(image: np.ndarray, padding: int) -> dict[bytes, tuple[int, int]]:
    """Every crop of the padded image, pixel by pixel -> the shift it comes from."""
    channels, height, width = image.shape
    crops = {}
    for down in range(-padding, padding + 1):
        for right in range(-padding, padding + 1):
            crop = np.zeros_like(image)
            for channel in range(channels):
                for y in range(height):
                    for x in range(width):
                        if 0 <= y + down < height and 0 <= x + right < width:
                            crop[channel, y, x] = image[channel, y + down, x + right]
            crops[crop.tobytes()] = (down, right)
    return crops


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [1, 2, 4])
def test_pad_and_crop_gives_a_crop_of_the_padded_image(padding: int, dtype: torch.dtype) -> None:
    batch = some_batch(12, dtype=dtype)
    result = pad_and_crop(batch, torch.Generator().manual_seed(3), padding=padding)
    shifts = [
        crops_by_hand(before, padding)[after.tobytes()]
        for before, after in zip(batch.images.numpy(), result.images.numpy(), strict=True)
    ]
    assert len(set(shifts)) > 4  # drawn for each image
    assert torch.equal(result.targets, batch.targets)


def test_pad_and_crop_reaches_every_shift_about_equally() -> None:
    image = some_batch(1).images
    batch = Batch(image.expand(9_000, -1, -1, -1), torch.zeros(9_000, dtype=torch.int64), 1)
    result = pad_and_crop(batch, torch.Generator().manual_seed(0), padding=1)
    shift_of = crops_by_hand(image[0].numpy(), 1)
    drawn = [shift_of[crop.tobytes()] for crop in result.images.numpy()]
    counts = [drawn.count((down, right)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert min(counts) > 850
    assert max(counts) < 1150


def test_padding_by_nothing_changes_nothing() -> None:
    batch = some_batch(4)
    assert torch.equal(pad_and_crop(batch, torch.Generator(), padding=0).images, batch.images)


@pytest.mark.parametrize(("flip", "axis"), [(horizontal_flip, 2), (vertical_flip, 1)])
@pytest.mark.parametrize("probability", [0.0, 0.25, 0.5, 1.0])
def test_flips_turn_whole_images_with_the_given_probability(
    flip: Callable[..., Batch], axis: int, probability: float
) -> None:
    batch = some_batch(4_000, height=3, width=2 + axis)
    result = flip(batch, torch.Generator().manual_seed(5), probability=probability)
    before, after = batch.images.numpy(), result.images.numpy()
    flipped = 0
    for old, new in zip(before, after, strict=True):
        turned = np.flip(old, axis)
        assert not np.array_equal(old, turned)
        assert np.array_equal(new, old) or np.array_equal(new, turned)
        flipped += np.array_equal(new, turned)
    assert flipped / 4_000 == pytest.approx(probability, abs=0.03 if 0 < probability < 1 else 0)
    assert torch.equal(result.targets, batch.targets)
