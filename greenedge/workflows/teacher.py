"""The teacher that a config names, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from greenedge.config import RunConfig, instantiate
from greenedge.data.layouts import ClassInfo
from greenedge.device.precision import choose_autocast
from greenedge.errors import CheckpointError, ConfigError
from greenedge.training.objectives import OBJECTIVES
from greenedge.training.run_directory import BEST
from greenedge.training.teacher import Teacher
from greenedge.workflows.build import build_transform, to_device, with_location
from greenedge.workflows.trained import TrainedModel, load_model


def load_teacher(config: RunConfig, classes: Sequence[ClassInfo]) -> TrainedModel | None:
    """The network of `train.teacher`; None where the config names none.

    Raises:
        ConfigError: the objective needs a teacher and there is none, or the other way round; or it has other classes.
        CheckpointError: it cannot be read.
    """
    section = config.train
    needed = instantiate(section.objective, OBJECTIVES).needs_teacher
    with with_location(config, "train"):
        if needed and section.teacher is None:
            raise ConfigError(
                f"{section.objective.name} needs train.teacher: a run directory or a checkpoint", key="objective"
            )
        if section.teacher is None:
            return None
        if not needed:
            others = [name for name, each in OBJECTIVES.items() if each().needs_teacher]
            message = f"{section.objective.name} has no use for a teacher; set train.objective to {' or '.join(others)}"
            raise ConfigError(message, key="teacher")
        path = Path(section.teacher)
        try:
            model = load_model(path / BEST if path.is_dir() else path)
        except CheckpointError as error:
            raise ConfigError(str(error), key="teacher") from None
        theirs, ours = ([each.id for each in group] for group in (model.classes, classes))
        if theirs != ours:
            message = f"{path}: was trained on other classes than this data set's; a teacher must know the same ones"
            raise ConfigError(message, key="teacher")
    return model


def build_teacher(model: TrainedModel, device: torch.device, *, channels_last: bool) -> Teacher:
    """The network on a device, with its own preprocessing, in the precision that is the faster one there."""
    network = to_device(model.network, device, channels_last=channels_last)
    transform = build_transform(model.config.data, channels_last=channels_last)
    return Teacher(network.requires_grad_(requires_grad=False), transform, choose_autocast("auto", network, device))
