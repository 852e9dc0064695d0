"""The splits of a run: which images of a data set its config trains on, sets aside and watches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from greenedge.config import DataConfig
from greenedge.data.layouts import ClassInfo
from greenedge.data.prepared import PreparedData, PreparedSplit, open_prepared
from greenedge.data.splits import carve_calibration, take_fraction


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


def open_splits(config: DataConfig) -> Splits:
    """Opens the prepared data of a config and carves out the calibration split.

    Raises:
        DataError: the data set is missing, broken, or too small for the split.
    """
    data = open_prepared(Path(config.path)).sized(config.input_size)
    train, calibration = _divided(data, config)
    has_calibration = len(calibration) > 0
    monitor = calibration if has_calibration else data.split("val")
    return Splits(data.classes, train, calibration, monitor, has_calibration)


def open_named_split(data: PreparedData, name: str, config: DataConfig) -> PreparedSplit:
    """`val`, `calibration`, or `train` (the images trained on).

    Raises:
        DataError: there is none.
    """
    if name == "val":
        return data.split("val")
    train, calibration = _divided(data, config)
    return train if name == "train" else calibration


def _divided(data: PreparedData, config: DataConfig) -> tuple[PreparedSplit, PreparedSplit]:
    """The images that are trained on, and those set aside."""
    rest, calibration = carve_calibration(
        data.split("train"), config.calibration_per_class, config.calibration_fraction
    )
    return take_fraction(rest, config.train_fraction), calibration
