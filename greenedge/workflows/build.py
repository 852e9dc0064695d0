"""From a config's sections to the things they describe."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator

from greenedge.augment import AUGMENTATIONS
from greenedge.config import (
    Component,
    DataConfig,
    RunConfig,
    instantiate_partial,
    resolve_component,
)
from greenedge.config.nodes import join_key
from greenedge.config.schema import IMAGE_SIZES, IMAGENET_MEAN, IMAGENET_STD
from greenedge.data.layouts import ClassInfo
from greenedge.data.loader import Batch, InputTransform
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.data.splits import carve_calibration, take_fraction
from greenedge.device.memory import disable_malloc_trim
from greenedge.errors import ConfigError, DataError
from greenedge.models.multi_exit import MultiExitNetwork, build_network
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


@contextmanager
def with_location(config: RunConfig, section: str) -> Iterator[None]:
    """Adds file, line and section to the configuration errors raised inside."""
    try:
        yield
    except ConfigError as error:
        if error.where is not None or error.key is None:
            raise
        key = join_key(section, error.key)
        nearest = key
        while nearest and nearest not in config.origins:
            nearest = nearest.rpartition(".")[0]
        raise ConfigError(error.message, key=key, where=config.origins.get(nearest)) from None


def build_model(config: RunConfig, num_classes: int) -> MultiExitNetwork:
    """The network of a config, with random weights.

    Raises:
        ConfigError: the config describes no possible network.
    """
    with with_location(config, "model"):
        return build_network(config.model, num_classes, config.data.input_size)


def build_transform(data: DataConfig, *, channels_last: bool) -> InputTransform:
    """How stored images are presented to the network."""
    return InputTransform(data.input_size, data.mean or IMAGENET_MEAN, data.std or IMAGENET_STD, channels_last)


def build_augmentations(
    parts: Sequence[Component], split: PreparedSplit
) -> tuple[Callable[[Batch, Generator], Batch], ...]:
    """Augmentations with their options filled in, each tried on blank images of the split's size.

    Raises:
        ConfigError: an augmentation refuses its options, or images of that size.
    """
    blank = torch.zeros(2, *split.images.shape[1:], dtype=torch.uint8)
    batch = Batch(blank, torch.zeros(2, dtype=torch.int64), len(split.classes))
    for part in parts:
        try:
            batch = instantiate_partial(with_probability_one(part), AUGMENTATIONS)(batch, Generator())
        except ValueError as error:
            key = join_key(part.key, part.name)
            raise ConfigError(str(error), key=key, where=part.where or None) from None
    return tuple(instantiate_partial(part, AUGMENTATIONS) for part in parts)


def with_probability_one(augmentation: Component) -> Component:
    """The same augmentation, changing every image."""
    options = resolve_component(augmentation, AUGMENTATIONS).options
    surely = {"probability": 1.0} if "probability" in options else {}
    return dataclasses.replace(augmentation, options={**augmentation.options, **surely})


@dataclass(frozen=True)
class Splits:
    """The images of a run.

    Attributes:
        classes: in the order of the labels.
        train: to learn from.
        calibration: set aside from the training images; may be empty.
        monitor: to watch while training: the calibration images, or, without any, the validation images.
        has_calibration: whether choices may be made on `monitor` (it is the calibration split).
    """

    classes: tuple[ClassInfo, ...]
    train: PreparedSplit
    calibration: PreparedSplit
    monitor: PreparedSplit
    has_calibration: bool


def open_splits(config: RunConfig) -> Splits:
    """Opens the prepared data of a config and carves out the calibration split.

    Raises:
        DataError: the data set is missing, broken, or too small for the split.
    """
    data = open_prepared(Path(config.data.path))
    section = config.data
    rest, calibration = carve_calibration(
        data.split("train"), section.calibration_per_class, section.calibration_fraction
    )
    train = take_fraction(rest, section.train_fraction)
    has_calibration = len(calibration) > 0
    monitor = calibration if has_calibration else data.split("val")
    return Splits(data.classes, train, calibration, monitor, has_calibration)


def to_device(network: MultiExitNetwork, device: torch.device, *, channels_last: bool) -> MultiExitNetwork:
    """Moves the network to its device and memory layout; on a CPU, memory is kept from step to step from here on."""
    if device.type == "cpu":
        disable_malloc_trim()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    moved: MultiExitNetwork = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return moved
