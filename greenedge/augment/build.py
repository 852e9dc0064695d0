"""The augmentations of a config, tried before the first batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Generator

from greenedge.augment import AUGMENTATIONS
from greenedge.augment.pairing import MixSettings, PairedBatch
from greenedge.config import Component, instantiate_partial, resolve_component
from greenedge.config.nodes import join_key
from greenedge.data.loader import Batch
from greenedge.data.prepared import PreparedSplit
from greenedge.errors import ConfigError

Augmentation = Callable[[Batch, Generator], Batch]


def build_augmentations(parts: Sequence[Component], split: PreparedSplit) -> tuple[Augmentation, ...]:
    """Augmentations with their options filled in, each tried on blank images of the split's size.

    Raises:
        ConfigError: an augmentation refuses its options, or images of that size, or stands where it cannot.
    """
    _tried(parts, split)
    return tuple(instantiate_partial(part, AUGMENTATIONS) for part in parts)


def mixes_images(part: Component, split: PreparedSplit) -> bool:
    """Whether an augmentation of a config mixes images, and so their labels, as it does with two blank ones."""
    return _tried([part], split).targets.is_floating_point()


def learned_mixing(parts: Sequence[Component], split: PreparedSplit) -> MixSettings | None:
    """How the Mix Block is made that the last augmentation of a config leaves the mixing to; None where none does."""
    batch = _tried(parts, split)
    return batch.settings if isinstance(batch, PairedBatch) else None


def _tried(parts: Sequence[Component], split: PreparedSplit) -> Batch:
    """What a config's augmentations make of two blank images of a split's size."""
    blank = torch.zeros(2, 3, split.image_size, split.image_size, dtype=torch.uint8)
    batch = Batch(blank, torch.zeros(2, dtype=torch.int64), len(split.classes))
    for index, part in enumerate(parts):
        if isinstance(batch, PairedBatch):
            before = parts[index - 1]
            raise ConfigError(
                "mixes within the step, after all augmentations; move it to the end of them, and name one such at most",
                key=join_key(before.key, before.name),
                where=before.where or None,
            )
        try:
            batch = instantiate_partial(with_probability_one(part), AUGMENTATIONS)(batch, Generator())
        except ValueError as error:
            key = join_key(part.key, part.name)
            raise ConfigError(str(error), key=key, where=part.where or None) from None
    return batch


def with_probability_one(augmentation: Component) -> Component:
    """The same augmentation, changing every image."""
    options = resolve_component(augmentation, AUGMENTATIONS).options
    surely = {"probability": 1.0} if "probability" in options else {}
    return dataclasses.replace(augmentation, options={**augmentation.options, **surely})
