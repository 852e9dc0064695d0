from __future__ import annotations

import pytest
import torch

from greenedge.augment import AUGMENTATIONS, LEARNED
from greenedge.data.loader import Batch

BLENDING = {"mixup"}  # only these compute new pixel values, and so turn uint8 into float


def drawn_with(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name not in LEARNED])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_augmentations_are_seeded_functions_from_batch_to_batch(name: str, dtype: torch.dtype) -> None:
    augment = AUGMENTATIONS[name]
    images = torch.randint(0, 256, (16, 3, 12, 12), generator=drawn_with(0), dtype=torch.uint8)
    if dtype.is_floating_point:
        images = images / 255
    targets = torch.arange(16) % 5
    batch = Batch(images.clone(), targets.clone(), 5)
    torch.manual_seed(1)
    result = augment(batch, drawn_with(7))
    torch.manual_seed(2)  # torch's own state must not matter
    again = augment(batch, drawn_with(7))
    other = augment(batch, drawn_with(8))

    assert torch.equal(batch.images, images)
    assert torch.equal(batch.targets, targets)
    assert result.images.shape == images.shape
    assert result.images.dtype == (torch.float32 if name in BLENDING else dtype)
    if result.images.dtype.is_floating_point:
        assert result.images.min() >= 0
        assert result.images.max() <= 1
    assert result.num_classes == 5
    assert not torch.equal(result.images, images)
    assert torch.equal(result.images, again.images)
    assert torch.equal(result.targets, again.targets)
    assert not torch.equal(result.images, other.images)
    if result.targets.dtype.is_floating_point:
        torch.testing.assert_close(result.targets.sum(dim=1), torch.ones(16))
    else:
        assert torch.equal(result.targets, targets)
