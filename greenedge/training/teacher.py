"""A trained network that another one learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from greenedge.config import RunConfig, instantiate
from greenedge.config.origins import with_location
from greenedge.data.layouts import ClassInfo
from greenedge.data.loader import InputTransform, build_transform
from greenedge.device.precision import choose_autocast
from greenedge.errors import CheckpointError, ConfigError
from greenedge.models.build import to_device
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.objectives import OBJECTIVES
from greenedge.training.run_files import checkpoint_path
from greenedge.training.trained import TrainedModel, load_model


@dataclass(frozen=True, eq=False)
class Teacher:
    """The final exit of a trained network, which sees a batch as it is stored, at its own size.

    Attributes:
        network: in evaluation mode, on the device of the images.
        transform: from stored images to what it was trained on.
        autocast: the type of cheap operations, or None for float32.
    """

    network: MultiExitNetwork
    transform: InputTransform
    autocast: torch.dtype | None = None

    def __repr__(self) -> str:
        return f"Teacher({type(self.network.backbone).__name__}, {self.transform.image_size} px)"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, C) for images (B, 3, H, W), uint8 or float in [0, 1]."""
        enabled = self.autocast is not None
        with torch.autocast(images.device.type, self.autocast, enabled=enabled):
            final: list[Tensor] = self.network(self.transform(images), (self.network.num_exits - 1,))
        return final[0]


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
            model = load_model(checkpoint_path(path))
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
