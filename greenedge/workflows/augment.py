"""`greenedge augment preview`: what a config's augmentations do to its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenedge.augment import AUGMENTATIONS, LEARNED
from greenedge.augment.build import with_probability_one
from greenedge.augment.preview import preview_augmentations
from greenedge.config import Component
from greenedge.data.prepared import open_prepared
from greenedge.errors import UsageError
from greenedge.reporting.figures import save_figure
from greenedge.reporting.image_grid import plot_image_grid
from greenedge.training.configs import read_config


def preview(config_path: Path, overrides: Sequence[str], out: Path, *, columns: int, every: bool) -> list[str]:
    """Draws images of the training split before and after each augmentation, and after all of them in order.

    Args:
        config_path: the config.
        overrides: texts like `data.path=data/pets`.
        out: the PNG to write.
        columns: images per row.
        every: all augmentations there are but those that learn, with their usual options at probability 1, in place of
            the config's.

    Raises:
        GreenedgeError: the config or its data cannot be used, or there is nothing to draw.
    """
    config = read_config(config_path, overrides)
    prepared = open_prepared(Path(config.data.path))
    split = prepared.sized(config.data.image_size or prepared.image_size).split("train")
    parts = config.augment
    if every:
        parts = tuple(with_probability_one(Component(name)) for name in AUGMENTATIONS if name not in LEARNED)
    if not parts:
        raise UsageError(f"{config_path}: has no augmentations to preview; add some, or give --every")
    rows = preview_augmentations(parts, split, columns, config.train.seed, in_order=not every)
    save_figure(plot_image_grid(rows), out)
    return [f"{out}: {columns} images before and after {len(parts)} augmentations"]
