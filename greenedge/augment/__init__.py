"""Augmentations: functions from batch to batch, random for each image, in one literal table.

The signature is `(batch, generator, *, options)`. `generator` is a CPU generator, the only source of randomness;
images may be uint8 or float in [0, 1] and lie on any device.
"""

from __future__ import annotations

from collections.abc import Callable

from greenedge.augment.geometric import horizontal_flip, pad_and_crop, vertical_flip
from greenedge.augment.mixing import cutmix, mixup
from greenedge.data.loader import Batch

AUGMENTATIONS: dict[str, Callable[..., Batch]] = {
    "cutmix": cutmix,
    "horizontal_flip": horizontal_flip,
    "mixup": mixup,
    "pad_and_crop": pad_and_crop,
    "vertical_flip": vertical_flip,
}

__all__ = ["AUGMENTATIONS", "cutmix", "horizontal_flip", "mixup", "pad_and_crop", "vertical_flip"]
