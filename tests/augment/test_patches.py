from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from greenedge.augment.patches import cutout, local_augment, random_erasing
from greenedge.data.loader import Batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bright(count: int, size: int = 16) -> Batch:
    return Batch(torch.full((count, 3, size, size), 255, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64), 1)


def rectangle(image: torch.Tensor) -> tuple[int, int, int, int]:
    """Returns top, bottom, left and right (exclusive) of the black part, a rectangle in all channels."""
    black = image[0] == 0
    rows, columns = black.any(dim=1).nonzero().flatten(), black.any(dim=0).nonzero().flatten()
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    expected = torch.full_like(image, 255)
    expected[:, top:bottom, left:right] = 0
    assert torch.equal(image, expected)
    return top, bottom, left, right


def test_cutout_is_a_square_of_the_given_side_clipped_at_the_border() -> None:
    sizes = []
    for image in cutout(bright(500), seeded(), size=6).images:
        top, bottom, left, right = rectangle(image)
        assert bottom - top == 6 or top == 0 or bottom == 16
        assert right - left == 6 or left == 0 or right == 16
        sizes.append((bottom - top, right - left))
    assert max(sizes) == (6, 6)


def test_cutout_covers_every_pixel_of_some_image() -> None:
    covered = (cutout(bright(2_000), seeded(1), size=6).images == 0).float().mean(dim=0)
    assert covered.min() > 0.01


def test_random_erasing_covers_the_given_area_where_no_border_clips_it() -> None:
    result = random_erasing(bright(500, 64), seeded(2), min_area=0.05, max_area=0.1, probability=1.0).images
    inside = 0
    for image in result:
        top, bottom, left, right = rectangle(image)
        if top > 0 and bottom < 64 and left > 0 and right < 64:
            inside += 1
            assert 0.04 < (bottom - top) * (right - left) / 64**2 < 0.12
            assert 0.25 < (bottom - top) / (right - left) < 4
    assert inside > 50


def patches(image: np.ndarray, grid: int) -> list[np.ndarray]:
    side = image.shape[1] // grid
    return [
        image[:, r * side : (r + 1) * side, c * side : (c + 1) * side]
        for r, c in itertools.product(range(grid), repeat=2)
    ]


@pytest.mark.parametrize(("rotate", "shuffle"), [(True, True), (True, False), (False, True), (False, False)])
def test_local_augment_rotates_and_reorders_whole_patches(*, rotate: bool, shuffle: bool) -> None:
    images = torch.randint(0, 256, (8, 3, 14, 14), generator=seeded(3), dtype=torch.uint8)
    batch = Batch(images, torch.arange(8), 8)
    result = local_augment(batch, seeded(4), grid=3, rotate=rotate, shuffle=shuffle, probability=1.0).images
    moved = turned = 0
    for before, after in zip(images.numpy(), result.numpy(), strict=True):
        assert np.array_equal(after[:, 12:, :], before[:, 12:, :])  # pixels that fill no patch
        assert np.array_equal(after[:, :, 12:], before[:, :, 12:])
        sources = patches(before, 3)
        found = []
        for place, patch in enumerate(patches(after, 3)):
            ways = [
                (source, quarters)
                for source in range(9)
                for quarters in range(4)
                if np.array_equal(np.rot90(sources[source], quarters, axes=(1, 2)), patch)
            ]
            assert len(ways) == 1
            found.append(ways[0][0])
            moved += ways[0][0] != place
            turned += ways[0][1] != 0
        assert sorted(found) == list(range(9))
    assert (moved > 0) == shuffle
    assert (turned > 0) == rotate


def test_local_augment_refuses_a_grid_finer_than_the_image() -> None:
    with pytest.raises(ValueError, match=r"grid is 20, more patches per side than the images have pixels \(16\)"):
        local_augment(bright(1), seeded(), grid=20, probability=1.0)
