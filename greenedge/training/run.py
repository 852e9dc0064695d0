"""A training that is ready to go on, built from its config."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from greenedge.augment.build import build_augmentations, learned_mixing, mixes_images
from greenedge.config import RunConfig, instantiate, instantiate_partial
from greenedge.config.nodes import join_key
from greenedge.config.origins import with_location
from greenedge.config.schema import TrainingCrop
from greenedge.data.crops import RandomCrops
from greenedge.data.loader import build_transform
from greenedge.data.prepared import PreparedSplit
from greenedge.data.run_splits import Splits, open_splits
from greenedge.data.splits import split_digest
from greenedge.device.precision import choose_autocast, choose_device, set_deterministic
from greenedge.device.processes import ALONE, Processes
from greenedge.errors import ConfigError
from greenedge.models.build import build_model, to_device
from greenedge.models.multi_exit import MultiExitNetwork, block_position
from greenedge.training.batch_norm import check_batch_norms
from greenedge.training.kept_features import KeptFeatures
from greenedge.training.learned_mixing import LearnedMixing
from greenedge.training.losses import LOSSES, balanced_weights
from greenedge.training.narrow import one_pixel_convolution
from greenedge.training.objectives import OBJECTIVES
from greenedge.training.optimizers import OPTIMIZERS
from greenedge.training.pretrained import load_weights
from greenedge.training.schedules import SCHEDULES
from greenedge.training.settings import TrainSettings
from greenedge.training.state import TrainingState, new_state
from greenedge.training.teacher import build_teacher, load_teacher

TrainPrecision = Literal["float32", "bf16", "fp16"]
_NAMES: dict[torch.dtype | None, TrainPrecision] = {None: "float32", torch.bfloat16: "bf16", torch.float16: "fp16"}

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class Run:
    """A training that is ready to go on.

    Attributes:
        state: where it stands.
        splits: its images.
        settings: how steps are made.
        config: what it was built from, resolved.
        device: where it runs.
        out: its run directory.
        kept_monitor: features of the images that it is watched on, where its heads are trained on kept features.
    """

    state: TrainingState
    splits: Splits
    settings: TrainSettings
    config: RunConfig
    device: torch.device
    out: Path
    kept_monitor: KeptFeatures | None = None

    @property
    def precision(self) -> TrainPrecision:
        """What cheap operations run in."""
        return _NAMES[self.settings.autocast]


def build_run(config: RunConfig, out: Path, *, pretrained: bool, processes: Processes = ALONE) -> Run:
    """Builds data, network, optimizer and settings of a config.

    Args:
        config: resolved.
        out: the run directory.
        pretrained: load the weights that the config names.
        processes: those that train together.

    Raises:
        GreenedgeError: something in the config, the data or the weights cannot be used.
    """
    splits = open_splits(config.data)
    _check_calibration(config, splits)
    _check_parts(config, len(splits.train), processes)
    teacher = load_teacher(config, splits.classes)
    seed = config.train.seed if config.train.init_seed is None else config.train.init_seed
    torch.manual_seed(seed)
    network = build_model(config, len(splits.classes))
    with with_location(config, ""):
        device = choose_device(config.train.device, processes)
    if pretrained:
        load_weights(network, config, splits.classes)

    if processes.count > 1 and device.type == "cuda":
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    network = to_device(network, device, channels_last=config.train.channels_last)
    settings = dataclasses.replace(build_settings(config, network, splits.train, device), processes=processes)
    if teacher is not None:
        each = build_teacher(teacher, device, channels_last=config.train.channels_last)
        settings = dataclasses.replace(settings, teacher=each)
    check_batch_norms(network, settings, len(splits.train))
    set_deterministic(device, settings.autocast)
    if config.train.kept_features is not None:
        network.backbone.requires_grad_(requires_grad=False)  # its classifier too; the optimizer knows the heads alone
    section = config.train
    optimizer = instantiate(section.optimizer, OPTIMIZERS, network, section.trunk_lr, section.layer_decay)
    # Names what is learnt from: a run that goes on must not learn from something else.
    data = split_digest(splits.train)
    if teacher is not None:
        data = hashlib.sha256(f"{data} {teacher.digest}".encode()).hexdigest()
    averages_last = section.average_last is not None
    state = new_state(network, optimizer, section.ema_decay, data=data, average_last=averages_last)
    state.parts = settings.parts
    state.mixing = _mixing(config, network, splits.train)
    if state.mixing is not None:
        state.mixing.add_to(optimizer)
    if settings.autocast == torch.float16:
        state.scaler = torch.amp.GradScaler(device.type)
    return Run(state, splits, settings, config, device, out)


def _mixing(config: RunConfig, network: MultiExitNetwork, split: PreparedSplit) -> LearnedMixing | None:
    """What mixes the images and learns beside the network, where the last augmentation leaves it to that.

    Raises:
        ConfigError: the network has no features to mix by, or no final exit that is trained.
    """
    settings = learned_mixing(config.augment, split)
    if settings is None:
        return None
    last, weights = config.augment[-1], config.train.exit_weights
    if weights is not None and weights[-1] == 0:
        with with_location(config, "train"):
            raise ConfigError(
                f"the final exit's is 0, and {last.name} learns by what that exit sees; make it positive, or mix "
                "otherwise",
                key="exit_weights",
            )
    with with_location(config, join_key(last.key, last.name)):
        return LearnedMixing(network, settings)


def _check_calibration(config: RunConfig, splits: Splits) -> None:
    """What follows the accuracy during training must not choose by the validation images.

    Raises:
        ConfigError: no images are set aside to choose on.
    """
    section = config.train
    wanted = {"early_stopping": section.early_stopping is not None, "schedule": section.schedule.name == "plateau"}
    with with_location(config, "train"):
        for key, is_wanted in wanted.items():
            if is_wanted and not splits.has_calibration:
                raise ConfigError(
                    "goes by the calibration images, and data sets none aside; raise data.calibration_per_class or "
                    "data.calibration_fraction",
                    key=key,
                )


def _check_parts(config: RunConfig, images: int, processes: Processes) -> None:
    """The images of a step must go round.

    Raises:
        ConfigError: they cannot be divided among the processes, or heads alone are trained by several.
    """
    section, parts = config.train, config.train.accumulate * processes.count
    with with_location(config, "train"):
        if processes.count > 1 and section.kept_features is not None:
            raise ConfigError(
                f"heads on kept features are trained in one process, and {processes.count} were started; start one",
                key="kept_features",
            )
        if section.batch_size % parts:
            raise ConfigError(
                f"{section.batch_size} images cannot be divided among {processes.count} processes with "
                f"train.accumulate {section.accumulate}; make it a multiple of {parts}",
                key="batch_size",
            )
        if images < parts:
            raise ConfigError(
                f"there are {images} training images for {parts} parts of a step; use fewer processes, or a smaller "
                "train.accumulate",
                key="accumulate",
            )


def build_settings(
    config: RunConfig, network: MultiExitNetwork, split: PreparedSplit, device: torch.device
) -> TrainSettings:
    """How a step is made, from the config.

    Raises:
        ConfigError: a block that is to be frozen does not exist, or an augmentation refuses its options.
    """
    section = config.train
    names = [name for name, _ in network.blocks]
    with with_location(config, "train"):
        frozen = tuple(
            (block_position(each.until, names, f"freeze.{index}.until") + 1, each.epochs)
            for index, each in enumerate(section.freeze)
        )
    if section.kept_features is not None:
        _check_augmentations(config, split)
        frozen = ((len(names), section.epochs),)
    schedule, lr = instantiate_partial(section.schedule, SCHEDULES), float(section.optimizer.options["lr"])
    return TrainSettings(
        epochs=section.epochs,
        batch_size=section.batch_size,
        seed=section.seed,
        augment=build_augmentations(config.augment, split),
        transform=build_transform(config.data, channels_last=section.channels_last),
        loss=instantiate_partial(section.loss, LOSSES),
        objective=instantiate(section.objective, OBJECTIVES),
        class_weights=_class_weights(config, split, device),
        exit_weights=section.exit_weights or (1.0,) * network.num_exits,
        learning_rate=lambda progress, accuracies: schedule(progress, lr, accuracies),
        gradient_clip_norm=section.gradient_clip_norm,
        autocast=_autocast(config, network, device),
        compile=section.compile,
        accumulate=section.accumulate,
        average_last=section.average_last or 0,
        early_stopping=section.early_stopping,
        trunk_only_epochs=section.trunk_only_epochs,
        frozen=frozen,
        crops=_crops(config, split),
    )


def _check_augmentations(config: RunConfig, split: PreparedSplit) -> None:
    """Kept features are of one image each, with its own label.

    Raises:
        ConfigError: an augmentation mixes images.
    """
    with with_location(config, ""):
        for index, part in enumerate(config.augment):
            if mixes_images(part, split):
                raise ConfigError(
                    f"{part.name} mixes images, and kept features would always be of the same pairs; remove it, or "
                    "train without train.kept_features",
                    key=f"augment.{index}",
                )


def _crops(config: RunConfig, split: PreparedSplit) -> RandomCrops | None:
    """What training sees of originals; None for arrays, and where it sees what every other reading does."""
    wanted = config.data.training_crop or TrainingCrop()
    if split.originals is None or wanted.kind == "centre":
        return None
    return RandomCrops(wanted.min_area, wanted.max_ratio)


def _class_weights(config: RunConfig, split: PreparedSplit, device: torch.device) -> Tensor | None:
    """float32 (C,), the factor of each class's images; None where all count as they are.

    Raises:
        ConfigError: the config has another number of factors than there are classes.
    """
    wanted, classes = config.train.class_weights, len(split.classes)
    if wanted == "equal":
        return None
    if wanted == "balanced":
        return balanced_weights(split.labels[split.rows], classes).to(device)
    if len(wanted) != classes:
        with with_location(config, "train"):
            raise ConfigError(
                f"has {len(wanted)} numbers, and the data set has {classes} classes; give one for each class",
                key="class_weights",
            )
    return torch.tensor(wanted, dtype=torch.float32, device=device)


def _autocast(config: RunConfig, network: MultiExitNetwork, device: torch.device) -> torch.dtype | None:
    """The type of cheap operations; float32 where gradients in bf16 would be wrong, which is logged."""
    with with_location(config, ""):
        autocast = choose_autocast(config.train.precision, network, device)
    if autocast is None or device.type != "cpu":
        return autocast
    name = one_pixel_convolution(network)
    if name is None:
        return autocast
    _log.warning(
        "note: at %d px, %s sees a single pixel, whose gradients are wrong in bf16 on a CPU; the run is in float32",
        network.image_size,
        name,
    )
    return None
