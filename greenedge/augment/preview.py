"""Images before and after augmentations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator

from greenedge.augment.build import build_augmentations, learned_mixing
from greenedge.augment.selection import stored_range
from greenedge.config import Component
from greenedge.config.nodes import join_key
from greenedge.data.loader import Batch
from greenedge.data.prepared import PreparedSplit
from greenedge.errors import ConfigError


def preview_augmentations(
    parts: Sequence[Component], split: PreparedSplit, columns: int, seed: int, *, in_order: bool
) -> dict[str, np.ndarray]:
    """Applies augmentations to a few images of a split.

    Args:
        parts: the augmentations.
        split: from which images are taken.
        columns: how many.
        seed: of the choice of images and of each augmentation.
        in_order: also apply all of them, one after the other.

    Returns:
        Name -> uint8 (columns, 3, H, W): before, after each augmentation alone, and, `in_order`, after all of them.

    Raises:
        ConfigError: an augmentation refuses its options, or images of that size, or learns its masks in training.
    """
    functions = build_augmentations(parts, split)
    if learned_mixing(parts, split) is not None:
        last = parts[-1]
        message = "learns its masks while a network is trained, so there is nothing to preview; leave it out"
        raise ConfigError(message, key=join_key(last.key, last.name), where=last.where or None)
    chosen = chosen_rows(split, columns, seed)
    labels = torch.from_numpy(split.labels[chosen])
    before = Batch(torch.from_numpy(split.read(chosen)), labels, len(split.classes))

    rows = {"before": stored_range(before.images).numpy()}
    for index, (part, function) in enumerate(zip(parts, functions, strict=True)):
        name = part.name if part.name not in rows else f"{part.name} ({index + 1})"
        rows[name] = stored_range(function(before, Generator().manual_seed(seed)).images).numpy()
    if len(parts) > 1 and in_order:
        generator, batch = Generator().manual_seed(seed), before
        for function in functions:
            batch = function(batch, generator)
        rows["all, in order"] = stored_range(batch.images).numpy()
    return rows


def chosen_rows(split: PreparedSplit, count: int, seed: int) -> np.ndarray:
    """Rows of images of many classes, int64 (count,): by a stride that shares no factor with usual class sizes."""
    return split.rows[(np.arange(count) * 7919 + seed) % len(split)]
