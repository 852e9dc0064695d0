"""`greenedge train`: from a config to a run directory."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from greenedge.augment.build import build_augmentations
from greenedge.config import RunConfig, config_to_text, instantiate, instantiate_partial
from greenedge.config.describe import model_summary
from greenedge.config.origins import with_location
from greenedge.data.loader import build_transform
from greenedge.data.prepared import PreparedSplit
from greenedge.data.run_splits import open_splits
from greenedge.data.splits import split_digest
from greenedge.device.environment import environment
from greenedge.device.precision import choose_autocast, choose_device, set_deterministic
from greenedge.errors import CheckpointError, UsageError
from greenedge.files import write_json, write_text
from greenedge.models.build import build_model, to_device
from greenedge.models.multi_exit import MultiExitNetwork, block_position
from greenedge.models.weights import load_pretrained
from greenedge.reporting.training import header
from greenedge.training.batch_norm import check_batch_norms
from greenedge.training.completion import complete_config
from greenedge.training.configs import read_config
from greenedge.training.history import HistoryRecord, read_history
from greenedge.training.interruption import StopSignals
from greenedge.training.loop import TrainSettings
from greenedge.training.losses import LOSSES
from greenedge.training.narrow import one_pixel_convolution
from greenedge.training.optimizers import OPTIMIZERS
from greenedge.training.resume import check_same_run, note_other_length, restore_run
from greenedge.training.run_directory import CONFIG, ENVIRONMENT, HISTORY, STATE, is_begun, locked
from greenedge.training.schedules import SCHEDULES
from greenedge.training.state import new_state, save_state
from greenedge.workflows.train_epochs import Run, run_epochs

_log = logging.getLogger("greenedge")


@dataclasses.dataclass(frozen=True)
class TrainOutcome:
    """How a training ended.

    Attributes:
        out: the run directory.
        history: one record per epoch.
        stopped_by: the name of the signal that stopped it early, or None.
    """

    out: Path
    history: list[HistoryRecord]
    stopped_by: str | None


def train(
    config_path: Path | None,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    *,
    resume: bool = False,
    stop: StopSignals | None = None,
) -> TrainOutcome:
    """Trains a config into a run directory.

    Args:
        config_path: the config; None, with `resume`, for the run's own.
        overrides: texts like `train.epochs=3`.
        out: the run directory; None: `runs/` and the config's name.
        resume: continue the run that is in `out`; where there is none it is started.
        stop: says when to stop; None: never.

    Raises:
        GreenedgeError: anything in the config, the data or the run directory that cannot be used.
    """
    out = _run_directory(config_path, out)
    with locked(out):  # before anything in it is looked at
        begun = is_begun(out, resume=resume, has_config=config_path is not None)
        own_config = out / CONFIG
        config = complete_config(read_config(config_path or own_config, overrides))
        if begun:
            check_same_run(read_config(own_config), config, out)
            if not (out / STATE).is_file():
                return _without_state(out, config)

        run = _build_run(config, out, pretrained=not begun)
        if begun:
            restore_run(run.state, run.settings, run.splits.train, out)
            note_other_length(read_config(own_config), config)
        else:
            (out / STATE).unlink(missing_ok=True)  # of a start that was cut short: another config's, perhaps
        write_text(own_config, config_to_text(config))  # first: a directory with a config and no more starts anew
        if not begun:
            _write_start(run)

        if not run.splits.has_calibration:
            _log.warning(
                "note: data.calibration_per_class sets no images aside, so nothing is chosen: the best weights are the "
                "last"
            )
        _log.info("%s", _header(run))
        stopped_by = run_epochs(run, stop or StopSignals())
        return TrainOutcome(out, run.state.history, stopped_by)


def _build_run(config: RunConfig, out: Path, *, pretrained: bool) -> Run:
    """Data, network, optimizer and settings of a config."""
    splits = open_splits(config.data)
    torch.manual_seed(config.train.seed)
    network = build_model(config, len(splits.classes))
    with with_location(config, ""):
        device = choose_device(config.train.device)
    if config.model.weights is not None and pretrained:
        with with_location(config, "model"):
            ids = [info.id for info in splits.classes]
            report = load_pretrained(network, config.model, config.model.weights, ids)
        _log.info("%s: %s", config.model.weights, report.sentence())

    network = to_device(network, device, channels_last=config.train.channels_last)
    settings = build_settings(config, network, splits.train, device)
    check_batch_norms(network, settings, len(splits.train))
    set_deterministic(device, settings.autocast)
    optimizer = instantiate(config.train.optimizer, OPTIMIZERS, network, config.train.trunk_lr)
    state = new_state(network, optimizer, config.train.ema_decay, data=split_digest(splits.train))
    return Run(state, splits, settings, config, device, out)


def _write_start(run: Run) -> None:
    """What a run directory holds before the first epoch; from then on the run can be resumed."""
    precision = "bf16" if run.settings.autocast else "float32"
    write_json(run.out / ENVIRONMENT, {**environment(run.device), "precision": precision})
    save_state(run.out / STATE, run.state)


def _header(run: Run) -> str:
    return header(
        model_summary(run.config.model),
        images=len(run.splits.train),
        stored=run.splits.train.images.shape[-1],
        image_size=run.config.data.input_size,
        classes=len(run.splits.classes),
        precision="bf16" if run.settings.autocast else "float32",
        device=str(run.device),
        out=run.out,
    )


def _without_state(out: Path, config: RunConfig) -> TrainOutcome:
    """A run whose state was not kept can be finished, and no more."""
    history = read_history(out / HISTORY, len(config.model.exits) + 1)
    if len(history) < config.train.epochs:
        raise CheckpointError(
            f"{out}: {len(history)} epochs are done, and {STATE} was not kept (train.keep_state: false) or removed, so "
            "no more can be added; start another run with --out"
        )
    return TrainOutcome(out, history, None)


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
    schedule = instantiate_partial(section.schedule, SCHEDULES)
    return TrainSettings(
        epochs=section.epochs,
        batch_size=section.batch_size,
        seed=section.seed,
        augment=build_augmentations(config.augment, split),
        transform=build_transform(config.data, channels_last=section.channels_last),
        loss=instantiate_partial(section.loss, LOSSES),
        exit_weights=section.exit_weights or (1.0,) * network.num_exits,
        learning_rate=partial(schedule, lr=float(section.optimizer.options["lr"])),
        gradient_clip_norm=section.gradient_clip_norm,
        autocast=_autocast(config, network, device),
        compile=section.compile,
        trunk_only_epochs=section.trunk_only_epochs,
        frozen=frozen,
    )


def _autocast(config: RunConfig, network: MultiExitNetwork, device: torch.device) -> torch.dtype | None:
    """The type of cheap operations; float32 where gradients in bf16 would be wrong, which is logged."""
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


def _run_directory(config_path: Path | None, out: Path | None) -> Path:
    if out is not None:
        return out
    if config_path is None:
        raise UsageError("give --config FILE, or --resume with --out RUN to continue a run by its own config")
    return Path("runs") / config_path.stem
