"""The augmentations of a config, tried before the first batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Generator

from greenedge.augment import AUGMENTATIONS
from greenedge.config import Component, instantiate_partial, resolve_component
from greenedge.config.nodes import join_key
from greenedge.data.loader import Batch
from greenedge.data.prepared import PreparedSplit
from greenedge.errors import ConfigError

Augmentation = Callable[[Batch, Generator], Batch]


def build_augmentations(parts: Sequence[Component], split: PreparedSplit) -> tuple[Augmentation, ...]:
    """Augmentations with their options filled in, each tried on blank images of the split's size.

    Raises:
        ConfigError: an augmentation refuses its options, or images of that size.
    """
    blank = torch.zeros(2, 3, split.image_size, split.image_size, dtype=torch.uint8)
    batch = Batch(blank, torch.zeros(2, dtype=torch.int64), len(split.classes))
    for part in parts:
        try:
            batch = instantiate_partial(with_probability_one(part), AUGMENTATIONS)(batch, Generator())
        except ValueError as error:
            key = join_key(part.key, part.name)
            raise ConfigError(str(error), key=key, where=part.where or None) from None
    return tuple(instantiate_partial(part, AUGMENTATIONS) for part in parts)


def mixes_images(part: Component, split: PreparedSplit) -> bool:
    """Whether an augmentation of a config mixes images, and so their labels, as it does with two blank ones."""
    blank = torch.zeros(2, 3, split.image_size, split.image_size, dtype=torch.uint8)
    batch = Batch(blank, torch.zeros(2, dtype=torch.int64), len(split.classes))
    changed = instantiate_partial(with_probability_one(part), AUGMENTATIONS)(batch, Generator())
    return changed.targets.is_floating_point()


def with_probability_one(augmentation: Component) -> Component:
    """The same augmentation, changing every image."""
    options = resolve_component(augmentation, AUGMENTATIONS).options
    surely = {"probability": 1.0} if "probability" in options else {}
    return dataclasses.replace(augmentation, options={**augmentation.options, **surely})
