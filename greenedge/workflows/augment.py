"""`greenedge augment preview`: what a config's augmentations do to its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from greenedge.augment import AUGMENTATIONS
from greenedge.config import Component
from greenedge.data.loader import Batch
from greenedge.data.prepared import open_prepared
from greenedge.errors import UsageError
from greenedge.reporting.figures import save_figure
from greenedge.reporting.image_grid import plot_image_grid
from greenedge.workflows.build import build_augmentations, with_probability_one
from greenedge.workflows.configs import read_config


def preview(config_path: Path, overrides: Sequence[str], out: Path, *, columns: int, every: bool) -> list[str]:
    """Draws images of the training split before and after each augmentation, and after all of them in order.

    Args:
        config_path: the config.
        overrides: texts like `data.path=data/pets`.
        out: the PNG to write.
        columns: images per row.
        every: all augmentations there are, with their usual options at probability 1, in place of the config's.

    Raises:
        GreenedgeError: the config or its data cannot be used, or there is nothing to draw.
    """
    config = read_config(config_path, overrides)
    split = open_prepared(Path(config.data.path)).split("train")
    parts = config.augment
    if every:
        parts = tuple(with_probability_one(Component(name)) for name in AUGMENTATIONS)
    if not parts:
        raise UsageError(f"{config_path}: has no augmentations to preview; add some, or give --every")
    functions = build_augmentations(parts, split)
    # A stride that shares no factor with usual class sizes, so that the images are of many classes.
    chosen = split.rows[(np.arange(columns) * 7919 + config.train.seed) % len(split)]
    labels = torch.from_numpy(split.labels[chosen])
    before = Batch(torch.from_numpy(split.read(chosen)), labels, len(split.classes))
    rows = _augmented(before, parts, functions, config.train.seed, in_order=not every)
    save_figure(plot_image_grid(rows), out)
    return [f"{out}: {columns} images before and after {len(parts)} augmentations"]


def _augmented(
    before: Batch,
    parts: Sequence[Component],
    functions: Sequence[Callable[[Batch, Generator], Batch]],
    seed: int,
    *,
    in_order: bool,
) -> dict[str, np.ndarray]:
    """Rows of pixels: before, after each augmentation alone, and, `in_order`, after all of them."""
    rows = {"before": _pixels(before)}
    for index, (part, function) in enumerate(zip(parts, functions, strict=True)):
        name = part.name if part.name not in rows else f"{part.name} ({index + 1})"
        rows[name] = _pixels(function(before, Generator().manual_seed(seed)))
    if len(parts) > 1 and in_order:
        generator, batch = Generator().manual_seed(seed), before
        for function in functions:
            batch = function(batch, generator)
        rows["all, in order"] = _pixels(batch)
    return rows


def _pixels(batch: Batch) -> np.ndarray:
    images = batch.images
    if images.dtype != torch.uint8:
        images = images.mul(255).round().to(torch.uint8)
    return images.numpy()
