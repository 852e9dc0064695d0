"""The table of augmentations: functions from batch to batch that change each image at random.

The signature is `(batch, generator, *, options)`. `generator` is a CPU generator, the only source of randomness;
images may be uint8 or float in [0, 1] and lie on any device. Only mixing images turns uint8 into float. Those in
`LEARNED` draw pairs, which a Mix Block mixes within a step.
"""

from __future__ import annotations

from collections.abc import Callable

from greenedge.augment.geometric import (
    horizontal_flip,
    pad_and_crop,
    random_resized_crop,
    resize_and_crop,
    rotate,
    rotate_quarter,
    scale,
    shear,
    translate,
    vertical_flip,
)
from greenedge.augment.mixing import cutmix, mixup, resizemix
from greenedge.augment.pairing import automix, samix
from greenedge.augment.patches import cutout, local_augment, random_erasing
from greenedge.augment.photometric import blur, brightness, channel_shuffle, contrast, gaussian_noise
from greenedge.augment.policies import aug_mix, rand_augment, trivial_augment
from greenedge.data.loader import Batch

AUGMENTATIONS: dict[str, Callable[..., Batch]] = {
    "aug_mix": aug_mix,
    "automix": automix,
    "blur": blur,
    "brightness": brightness,
    "channel_shuffle": channel_shuffle,
    "contrast": contrast,
    "cutmix": cutmix,
    "cutout": cutout,
    "gaussian_noise": gaussian_noise,
    "horizontal_flip": horizontal_flip,
    "local_augment": local_augment,
    "mixup": mixup,
    "pad_and_crop": pad_and_crop,
    "rand_augment": rand_augment,
    "random_erasing": random_erasing,
    "random_resized_crop": random_resized_crop,
    "resize_and_crop": resize_and_crop,
    "resizemix": resizemix,
    "rotate": rotate,
    "rotate_quarter": rotate_quarter,
    "samix": samix,
    "scale": scale,
    "shear": shear,
    "translate": translate,
    "trivial_augment": trivial_augment,
    "vertical_flip": vertical_flip,
}

LEARNED = ("automix", "samix")

__all__ = ["AUGMENTATIONS", "LEARNED"]
