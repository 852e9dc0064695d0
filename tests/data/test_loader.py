from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from greenedge.data.loader import InputTransform, iterate_batches
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.data.splits import carve_calibration

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def calibration(prepared: Path) -> PreparedSplit:
    """Makes 15 images whose rows are not the first of the array."""
    return carve_calibration(open_prepared(prepared).split("train"), 5)[1]


@pytest.mark.parametrize("batch_size", [1, 4, 15, 100])
@pytest.mark.parametrize("shuffled", [False, True])
def test_iterate_batches_equals_direct_indexing(calibration: PreparedSplit, batch_size: int, shuffled: bool) -> None:
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1)) if shuffled else None
    positions = range(15) if order is None else order.tolist()
    rows = [int(calibration.rows[position]) for position in positions]
    batches = list(iterate_batches(calibration, batch_size, order))
    assert [len(batch.images) for batch in batches] == [
        min(batch_size, 15 - start) for start in range(0, 15, batch_size)
    ]
    images = torch.cat([batch.images for batch in batches])
    targets = torch.cat([batch.targets for batch in batches])
    assert images.dtype == torch.uint8
    assert targets.dtype == torch.int64
    np.testing.assert_array_equal(images.numpy(), np.stack([calibration.images[row] for row in rows]))
    assert targets.tolist() == [calibration.labels[row] for row in rows]
    assert {batch.num_classes for batch in batches} == {3}


def test_iterate_batches_may_choose_and_repeat_positions(calibration: PreparedSplit) -> None:
    (batch,) = iterate_batches(calibration, 8, torch.tensor([3, 3, 0]))
    expected = calibration.images[calibration.rows[[3, 3, 0]]]
    np.testing.assert_array_equal(batch.images.numpy(), expected)


def test_iterate_batches_gives_copies_of_the_data(calibration: PreparedSplit) -> None:
    before = np.array(calibration.images)
    for batch in iterate_batches(calibration, 4):
        batch.images.zero_()
        batch.targets.fill_(99)
    np.testing.assert_array_equal(calibration.images, before)
    assert calibration.labels.max() == 2


def some_images(dtype: torch.dtype) -> torch.Tensor:
    images = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    return images.to(torch.uint8) if dtype == torch.uint8 else images.to(dtype) / 255


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels_last", [False, True])
def test_input_transform_normalises_like_torchvision(dtype: torch.dtype, channels_last: bool) -> None:
    images = some_images(dtype)
    expected = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])(images)
    result = InputTransform(64, MEAN, STD, channels_last)(images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-6)


RESIZED = pytest.mark.parametrize("size", [32, 48, 96, 224])
DTYPES = pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])


@RESIZED
@DTYPES
def test_input_transform_resizes_like_torchvision(size: int, dtype: torch.dtype) -> None:
    images = some_images(dtype)
    steps = [
        v2.ToDtype(torch.float32, scale=True),
        v2.Resize((size, size), InterpolationMode.BICUBIC, antialias=True),
        v2.Lambda(lambda pixels: pixels.clamp(0, 1)),
        v2.Normalize(MEAN, STD),
    ]
    result = InputTransform(size, MEAN, STD)(images)
    assert result.shape == (4, 3, size, size)
    torch.testing.assert_close(result, v2.Compose(steps)(images), rtol=0, atol=1e-5)


@RESIZED
@DTYPES
def test_input_transform_resizes_like_pillow_without_its_rounding(size: int, dtype: torch.dtype) -> None:
    planes = some_images(torch.uint8).float().flatten(0, 1).numpy()
    resized = [Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC) for plane in planes]
    expected = np.stack([np.asarray(plane) for plane in resized]).clip(0, 255) / 255
    result = InputTransform(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))(some_images(dtype))
    np.testing.assert_allclose(result.flatten(0, 1).numpy(), expected, rtol=0, atol=2e-5)


def test_input_transform_keeps_resized_pixels_between_black_and_white() -> None:
    edge = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    edge[..., 32:] = 255
    result = InputTransform(96, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))(edge)
    assert result.min() == 0
    assert result.max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [64, 80])
@pytest.mark.parametrize("channels_last", [False, True])
def test_input_transform_returns_the_given_memory_layout(size: int, channels_last: bool) -> None:
    result = InputTransform(size, MEAN, STD, channels_last)(some_images(torch.uint8))
    assert result.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert result.is_contiguous() != channels_last


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [64, 80])
@pytest.mark.parametrize("channels_last", [False, True])
def test_input_transform_neither_changes_nor_shares_its_input(
    dtype: torch.dtype, size: int, channels_last: bool
) -> None:
    images = some_images(dtype)
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    before = images.clone()
    InputTransform(size, MEAN, STD, channels_last)(images).zero_()
    assert torch.equal(images, before)
