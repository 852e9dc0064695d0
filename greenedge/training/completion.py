"""What a config leaves to its data set and its weights."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from greenedge.config import RunConfig
from greenedge.config.origins import with_location
from greenedge.config.schema import IMAGE_SIZES, IMAGENET_MEAN, IMAGENET_STD
from greenedge.data.prepared import open_prepared
from greenedge.errors import DataError
from greenedge.models.weights import pretrained_normalisation

_log = logging.getLogger("greenedge")


def complete_config(config: RunConfig) -> RunConfig:
    """The config with what its data set and its weights say where it is silent itself.

    Where the config says something else than the data set or the weights, that is logged.

    Args:
        config: with `image_size`, `mean` and `std` perhaps null.

    Raises:
        DataError: the data set is missing or broken.
        ConfigError: the weights' own metadata are not available.
    """
    section, stored = config.data, open_prepared(Path(config.data.path)).image_size
    if section.image_size is None and stored not in IMAGE_SIZES:
        raise DataError(f"{section.path}: images of {stored} px are no size to train at; set data.image_size")
    if section.image_size not in (None, stored):
        _log.warning(
            "note: images are stored at %d px and resized to data.image_size, %d px", stored, section.image_size
        )

    with with_location(config, "model"):
        wanted = pretrained_normalisation(config.model.backbone, config.model.weights)
    mean, std = wanted or (IMAGENET_MEAN, IMAGENET_STD)
    if wanted is not None:
        for key, value, given in (("mean", mean, section.mean), ("std", std, section.std)):
            if given not in (None, value):
                _log.warning(
                    "note: data.%s is %s, the pre-trained weights were trained with %s",
                    key,
                    list(given or ()),
                    list(value),
                )
    completed = dataclasses.replace(
        section, image_size=section.image_size or stored, mean=section.mean or mean, std=section.std or std
    )
    return dataclasses.replace(config, data=completed)
