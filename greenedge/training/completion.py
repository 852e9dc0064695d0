"""What a config leaves to its data set and its weights."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from greenedge.config import RunConfig
from greenedge.config.origins import with_location
from greenedge.config.schema import IMAGE_SIZES, IMAGENET_MEAN, IMAGENET_STD, DataConfig
from greenedge.data.manifest import Manifest, read_manifest
from greenedge.data.originals import ARRAYS, ORIGINALS
from greenedge.data.prepared import open_prepared
from greenedge.errors import ConfigError, DataError
from greenedge.models.weights import pretrained_normalisation

_log = logging.getLogger("greenedge")


def complete_config(config: RunConfig) -> RunConfig:
    """The config with what its data set and its weights say where it is silent itself.

    Where the config says something else than the data set or the weights, that is logged.

    Args:
        config: with `image_size`, `mean` and `std` perhaps null.

    Raises:
        DataError: the data set is missing or broken.
        ConfigError: the weights' own metadata are not available, or the data set keeps its images in another way.
    """
    section, stored = config.data, open_prepared(Path(config.data.path)).image_size
    manifest = read_manifest(Path(section.path))
    with with_location(config, "data"):
        _check_store(section, manifest)
    if section.image_size is None and stored not in IMAGE_SIZES:
        raise DataError(f"{section.path}: images of {stored} px are no size to train at; set data.image_size")
    if manifest.store == ARRAYS and section.image_size not in (None, stored):
        _log.warning(
            "note: images are stored at %d px and resized to data.image_size, %d px", stored, section.image_size
        )
    size, median = section.image_size or stored, manifest.shorter_sides.get("median")
    if median is not None and median < size:
        _log.warning(
            "note: half of the originals have a shorter side of at most %d px; they are enlarged to %d px", median, size
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


def _check_store(section: DataConfig, manifest: Manifest) -> None:
    """Whether images are kept as the config needs them.

    Raises:
        ConfigError: they are not.
    """
    if section.store not in (None, manifest.store):
        raise ConfigError(
            f"is {section.store}, and {section.path} keeps {manifest.store}; prepare it again with --store "
            f"{section.store}, or leave this key out",
            key="store",
        )
    if section.training_crop is not None and manifest.store != ORIGINALS:
        raise ConfigError(
            f"is for originals, and {section.path} keeps arrays; use augment: [random_resized_crop], or prepare the "
            "images with --store originals",
            key="training_crop",
        )
