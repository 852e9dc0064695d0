"""`greenedge study`: what exits do to the blocks before them, from networks of one backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.data.loader import build_transform
from greenedge.data.prepared import PreparedSplit
from greenedge.data.run_splits import open_named_split
from greenedge.data.splits import take_fraction
from greenedge.data.unseen import check_unseen
from greenedge.device.precision import choose_device
from greenedge.errors import DataError, UsageError
from greenedge.models.build import to_device
from greenedge.reporting.blocks import CommandResult, write_result
from greenedge.reporting.names import run_names
from greenedge.reporting.study import StudySummary, present_study
from greenedge.training.run_files import BEST, checkpoint_path
from greenedge.training.study import Study, study_networks
from greenedge.training.trained import TrainedModel, load_model, open_data


@dataclass(frozen=True)
class StudyOptions:
    """Which images networks are studied on.

    Attributes:
        data: a prepared data set; None: the one that the first run was trained on.
        split: `val` or `calibration`, whose images everything is said of.
        train_images: training images that probes and stitches are fitted on, drawn evenly from the classes.
        shown_images: of the split, likewise.
    """

    data: Path | None = None
    split: str = "val"
    train_images: int = 5_000
    shown_images: int = 2_000


def study(runs: Sequence[Path], options: StudyOptions, out: Path) -> CommandResult[Study]:
    """Compares the blocks of networks with those of the first one; writes study.json, .csv and .png.

    Args:
        runs: run directories or checkpoints of one backbone, the reference first.
        options: which images.
        out: folder for the results.

    Raises:
        UsageError: a run is a cascade, or the networks do not have the same blocks.
        DataError: the images are not what their name says to a run, or there are none.
        GreenedgeError: a run or the data cannot be used.
    """
    models = [load_model(checkpoint_path(path)) for path in runs]
    for model in models:
        if model.members:
            raise UsageError(f"{model.path}: is a cascade; study the runs that it was made of")
    train = _images(models, options, "train", options.train_images)
    shown = _images(models, options, options.split, options.shown_images)

    device = choose_device("auto")
    networks = [to_device(model.network, device, channels_last=True) for model in models]
    transforms = [build_transform(model.config.data, channels_last=True) for model in models]
    found = study_networks(networks, transforms, train, shown)
    summary = StudySummary(
        tuple(run_names(runs, BEST)), tuple(model.summary for model in models), len(train), shown.name, len(shown)
    )
    return write_result(present_study(summary, found), out, "study")


def _images(models: Sequence[TrainedModel], options: StudyOptions, name: str, count: int) -> PreparedSplit:
    """Images of the first network's split, which must be the same to the others: seen in training, or not."""
    prepared = open_data(models[0], options.data)
    split = open_named_split(prepared, name, models[0].config.data)
    if len(split) == 0:
        raise DataError(f"{prepared.path}: its {name} split is empty")
    for model in models:
        open_data(model, prepared.path)
        check_unseen(split, model.seen, model.path, prepared.path, named=options.data is not None)
    return take_fraction(split, min(1.0, count / len(split)))
