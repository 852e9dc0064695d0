"""What a Mix Block has learned, in a few pairs of training images."""

from __future__ import annotations

import numpy as np
import torch

from greenedge.augment.pairing import PairedBatch
from greenedge.augment.preview import chosen_rows
from greenedge.augment.selection import stored_range
from greenedge.training.run import Run

SHOWN_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def preview_mixing(run: Run) -> dict[str, np.ndarray]:
    """Mixes one pair of training images for each of `SHOWN_SHARES`.

    Args:
        run: whose state has learned mixing.

    Returns:
        Name -> uint8 (9, 3, H, W): the image that has the share, the other, the mask of the first and the mixture.
    """
    mixing, split = run.state.mixing, run.splits.train
    assert mixing is not None  # whoever shows it has looked
    settings, columns = mixing.settings, len(SHOWN_SHARES)
    rows = chosen_rows(split, 2 * columns, run.settings.seed)
    images = torch.from_numpy(split.read(rows)).to(run.device)
    pairs = torch.arange(2 * columns).view(2, columns).T
    keep = torch.tensor(SHOWN_SHARES, device=run.device)
    nothing = torch.zeros(columns, len(split.classes), device=run.device)
    batch = PairedBatch(images, nothing, len(split.classes), pairs, keep, nothing, settings)
    with torch.no_grad():
        mixed, mask = mixing.mix(batch, run.settings.transform)
        mask = mixing.block.enlarged(mask, (mixed.shape[-2], mixed.shape[-1]))
    return {
        "first, 0.1 to 0.9": images[:columns].cpu().numpy(),
        "second": images[columns:].cpu().numpy(),
        "mask of the first": stored_range(mask.expand(-1, 3, -1, -1)).cpu().numpy(),
        settings.kind: stored_range(mixed).cpu().numpy(),
    }
