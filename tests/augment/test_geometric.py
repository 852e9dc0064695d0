from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from greenedge.augment.geometric import (
    horizontal_flip,
    pad_and_crop,
    random_resized_crop,
    resize_and_crop,
    rotate,
    rotate_quarter,
    scale,
    shear,
    translate,
    vertical_flip,
)
from greenedge.data.loader import Batch


def some_batch(count: int, height: int = 6, width: int = 5, dtype: torch.dtype = torch.uint8) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    return Batch(images if dtype == torch.uint8 else images / 255, torch.arange(count), count)


def crops_by_hand(image: np.ndarray, padding: int) -> dict[bytes, tuple[int, int]]:
    """Maps every crop of the padded image, pixel by pixel, to its shift."""
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


def test_pad_and_crop_without_padding_changes_nothing() -> None:
    batch = some_batch(4)
    assert torch.equal(pad_and_crop(batch, torch.Generator(), padding=0).images, batch.images)


@pytest.mark.parametrize(("flip", "axis"), [(horizontal_flip, 2), (vertical_flip, 1)])
@pytest.mark.parametrize("probability", [0.0, 0.25, 0.5, 1.0])
def test_flips_mirror_whole_images_with_the_given_probability(
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


def test_rotate_quarter_draws_each_turn_equally_often() -> None:
    batch = some_batch(4_000, height=4, width=4)
    result = rotate_quarter(batch, torch.Generator().manual_seed(6), probability=0.6)
    turns = [0, 0, 0, 0]
    for before, after in zip(batch.images.numpy(), result.images.numpy(), strict=True):
        ways = [k for k in range(4) if np.array_equal(np.rot90(before, k, axes=(1, 2)), after)]
        assert len(ways) == 1
        turns[ways[0]] += 1
    assert turns[0] / 4_000 == pytest.approx(0.4, abs=0.03)
    assert all(count / 4_000 == pytest.approx(0.2, abs=0.03) for count in turns[1:])


def test_rotate_quarter_refuses_images_that_are_not_square() -> None:
    with pytest.raises(ValueError, match="quarter turns need square images, not 5 x 6 pixels"):
        rotate_quarter(some_batch(3), torch.Generator(), probability=1.0)


def ramp(count: int, size: int = 32) -> Batch:
    """Makes images whose first channel rises with x and second with y, so that a pixel shows its position."""
    place = (torch.arange(size) + 0.5) / size
    image = torch.stack([place.expand(size, size), place.view(-1, 1).expand(size, size), torch.ones(size, size)])
    return Batch(image.expand(count, -1, -1, -1).contiguous(), torch.arange(count), count)


def test_random_resized_crop_shows_an_upright_part_of_the_given_area_and_shape() -> None:
    result = random_resized_crop(ramp(400), torch.Generator().manual_seed(7), min_area=0.2, max_ratio=1.5).images
    middle = result[:, :, 15:17, 15:17]
    across = (result[:, 0, 16, 24] - result[:, 0, 16, 8]) * 2  # fraction of the side that is visible
    down = (result[:, 1, 24, 16] - result[:, 1, 8, 16]) * 2
    area, ratio = across * down, across / down
    assert area.min() > 0.18
    assert area.min() < 0.3
    assert 0.9 < area.max() < 1.01
    assert ratio.max() < 1.52
    assert ratio.min() > 0.65
    assert ratio.max() > 1.2
    assert ((middle[:, 0].mean(dim=(1, 2)) - across / 2) > -0.01).all()  # nothing from outside the image
    assert ((middle[:, 1].mean(dim=(1, 2)) + down / 2) < 1.01).all()


def test_resize_and_crop_shows_a_part_of_the_enlarged_image_at_any_position() -> None:
    result = resize_and_crop(ramp(400), torch.Generator().manual_seed(8), size=40).images
    across = result[:, 0, 16, 24] - result[:, 0, 16, 8]
    torch.testing.assert_close(across, torch.full((400,), 16 / 40), rtol=0, atol=0.01)
    lefts = (result[:, 0, 16, 16] * 40 - 16.5).round().long()
    assert lefts.unique().tolist() == list(range(9))


def test_translate_reaches_its_share_of_the_side_and_no_further() -> None:
    batch = Batch(torch.ones(500, 3, 20, 10), torch.arange(500), 500)
    result = translate(batch, torch.Generator().manual_seed(9), share=0.2).images
    dark_columns = (result[:, 0, 10] == 0).sum(dim=1)
    dark_rows = (result[:, 0, :, 5] == 0).sum(dim=1)
    assert dark_columns.max() == 1  # of at most two pixels, the second is partly lit
    assert dark_rows.max() == 3


@pytest.mark.parametrize("change", [rotate, scale, shear, translate])
def test_geometric_augmentations_keep_the_centre_and_draw_an_amount_per_image(change: Callable[..., Batch]) -> None:
    result = change(ramp(100), torch.Generator().manual_seed(10)).images
    assert len({each.numpy().tobytes() for each in result}) == 100
    assert ((result[:, :2, 15:17, 15:17].mean(dim=(2, 3)) - 0.5).abs() < 0.11).all()


def test_scale_refuses_a_reversed_range() -> None:
    with pytest.raises(ValueError, match=r"from 1\.5 to 1\.2 is empty; the first number must not be above"):
        scale(ramp(1), torch.Generator(), low=1.5)


def test_resize_and_crop_refuses_a_size_below_the_images() -> None:
    with pytest.raises(ValueError, match="size is 20 and must be at least the images' 32 pixels"):
        resize_and_crop(ramp(1), torch.Generator(), size=20)
