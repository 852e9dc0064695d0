"""`greenedge train`: from a config to a run directory."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from greenedge import __version__
from greenedge.config import RunConfig, config_to_text, instantiate, instantiate_partial
from greenedge.data.prepared import PreparedSplit
from greenedge.data.splits import former_split_digest, split_digest
from greenedge.device.precision import choose_autocast, choose_device, set_deterministic
from greenedge.errors import CheckpointError, UsageError
from greenedge.files import write_json, write_text
from greenedge.models.multi_exit import MultiExitNetwork, block_position
from greenedge.models.weights import load_pretrained
from greenedge.training.batch_norm import check_batch_norms
from greenedge.training.history import read_history, write_history
from greenedge.training.interruption import StopSignals
from greenedge.training.loop import TrainSettings
from greenedge.training.losses import LOSSES
from greenedge.training.optimizers import OPTIMIZERS
from greenedge.training.run_directory import CONFIG, ENVIRONMENT, HISTORY, LOCK, STATE, is_unfinished_start, locked
from greenedge.training.schedules import SCHEDULES
from greenedge.training.state import TrainingState, new_state, restore_state, save_state
from greenedge.workflows.build import (
    Splits,
    build_augmentations,
    build_model,
    build_transform,
    complete_config,
    open_splits,
    to_device,
    with_location,
)
from greenedge.workflows.configs import read_config
from greenedge.workflows.train_epochs import Run, run_epochs
from greenedge.workflows.trained import model_summary

# What may change between a run and its continuation without making it another run.
_FREE_ON_RESUME = ("train.epochs", "train.device", "train.keep_state", "data.path")


@dataclasses.dataclass(frozen=True)
class TrainOutcome:
    """How a training ended.

    Attributes:
        out: the run directory.
        history: one record per epoch.
        stopped_by: the name of the signal that stopped it early, or None.
    """

    out: Path
    history: list[dict[str, Any]]
    stopped_by: str | None


def train(
    config_path: Path | None,
    overrides: Sequence[str],
    out: Path | None,
    *,
    resume: bool,
    say: Callable[[str], None],
    stop: StopSignals | None = None,
) -> TrainOutcome:
    """Trains a config into a run directory.

    Args:
        config_path: the config; None, with `resume`, for the run's own.
        overrides: texts like `train.epochs=3`.
        out: the run directory; None: `runs/` and the config's name.
        resume: continue the run that is in `out`; where there is none it is started.
        say: told what happens, one line at a time.
        stop: says when to stop; None: never.

    Raises:
        GreenedgeError: anything in the config, the data or the run directory that cannot be used.
    """
    out = _run_directory(config_path, out)
    with locked(out):  # before anything in it is looked at
        begun = _is_begun(out, config_path, resume=resume, say=say)
        own_config = out / CONFIG
        config = complete_config(read_config(config_path or own_config, overrides), say)
        if begun:
            _check_same_run(config, out)
            if not (out / STATE).is_file():
                return _without_state(out, config)

        splits = open_splits(config)
        torch.manual_seed(config.train.seed)
        network = build_model(config, len(splits.classes))
        with with_location(config, ""):
            device = choose_device(config.train.device)
        if config.model.weights is not None and not begun:
            ids = [info.id for info in splits.classes]
            with with_location(config, "model"):
                report = load_pretrained(network, config.model, config.model.weights, ids)
            say(f"{config.model.weights}: {report.sentence()}")
        network = to_device(network, device, channels_last=config.train.channels_last)
        settings = build_settings(config, network, splits.train, device)
        check_batch_norms(network, settings, len(splits.train))
        set_deterministic(device, settings.autocast)
        optimizer = instantiate(config.train.optimizer, OPTIMIZERS, network, config.train.trunk_lr)
        state = new_state(network, optimizer, config.train.ema_decay, data=split_digest(splits.train))

        if begun:
            _restore(state, settings, splits, out, say)
            _note_other_length(read_config(own_config), config, say)
        else:
            (out / STATE).unlink(missing_ok=True)  # of a start that was cut short: another config's, perhaps
        write_text(own_config, config_to_text(config))  # first: a directory with a config and no more starts anew
        if not begun:
            write_json(out / ENVIRONMENT, _environment(device, settings))
            save_state(out / STATE, state)  # from here on the run can be resumed
        if not splits.has_calibration:
            say(
                "note: data.calibration_per_class sets no images aside, so nothing is chosen: the best weights are the "
                "last"
            )
        say(_header(config, splits, settings, device, out))
        stopped_by = run_epochs(Run(state, splits, settings, config, out), stop or StopSignals(), say)
        return TrainOutcome(out, state.history, stopped_by)


def _is_begun(out: Path, config_path: Path | None, *, resume: bool, say: Callable[[str], None]) -> bool:
    """Whether a run is to be continued, and not started.

    Raises:
        UsageError: the directory is not free, or there is no config to start by.
        CheckpointError: it holds something, and no run.
    """
    names = {path.name for path in out.iterdir()} - {LOCK}
    fresh = is_unfinished_start(out)
    if not resume:
        if not fresh:
            raise UsageError(
                f"{out}: holds a run or other files already; continue it with --resume, or train into another --out"
            )
        if names:
            say(f"note: {out} holds a start that was cut short; it is started anew")
        return False
    if not fresh or {CONFIG, STATE} <= names:
        if CONFIG not in names:
            raise CheckpointError(f"{out}: holds no run to resume (no {CONFIG}), but other files; choose another --out")
        return True
    if config_path is None and CONFIG not in names:
        raise UsageError(f"{out}: holds no run yet; give --config FILE to start one")
    say(f"{out}: holds no run yet, so it is started")
    return False


def _without_state(out: Path, config: RunConfig) -> TrainOutcome:
    """A run whose state was not kept can be finished, and no more."""
    history = read_history(out / HISTORY, len(config.model.exits) + 1)
    if len(history) < config.train.epochs:
        raise CheckpointError(
            f"{out}: {len(history)} epochs are done, and {STATE} was not kept (train.keep_state: false) or removed, so "
            "no more can be added; start another run with --out"
        )
    return TrainOutcome(out, history, None)


def _restore(
    state: TrainingState, settings: TrainSettings, splits: Splits, out: Path, say: Callable[[str], None]
) -> None:
    """Brings the state and the history to where the run stopped."""
    former = former_split_digest(splits.train)
    restored = restore_state(out / STATE, state, settings.steps_per_epoch(len(splits.train)), former)
    if state.epoch > settings.epochs:
        raise UsageError(f"{out}: {state.epoch} epochs are done, train.epochs is {settings.epochs}; give no fewer")
    if restored.by_former_name:
        say("note: this run was started before images were named by their pixels; that they are the same is assumed")
    say(f"resuming after epoch {state.epoch}" + (f", step {state.step}" if state.step else ""))

    path = out / HISTORY
    anew = f"remove it and resume: it is written anew from {STATE}"
    way_out = anew if restored.has_history else "put back a copy of it, or start another run with --out"
    if not path.exists() and restored.has_history:
        if state.history:
            say(f"note: {path} is missing and is written anew from {STATE}")
            write_history(path, state.history)
        return
    records = read_history(path, state.network.num_exits, way_out)
    if len(records) < state.epoch or (restored.has_history and records[: state.epoch] != state.history):
        raise CheckpointError(f"{path}: is not the record of the {state.epoch} epochs that are done; {way_out}")
    state.history = records[: state.epoch]


def _note_other_length(old: RunConfig, new: RunConfig, say: Callable[[str], None]) -> None:
    before, now = old.train.epochs, new.train.epochs
    if now < before:
        say(f"note: the run was given {before} epochs and now ends after {now} (train.epochs)")
    if now != before and new.train.schedule.name != "constant":
        how = "stretched" if now > before else "shortened"
        say(f"note: the {new.train.schedule.name} schedule is {how} to {now} epochs from here on")


def _header(config: RunConfig, splits: Splits, settings: TrainSettings, device: torch.device, out: Path) -> str:
    stored, seen = splits.train.images.shape[-1], config.data.input_size
    size = f"{seen} px" if stored == seen else f"{stored} px, resized to {seen} px"
    return (
        f"{model_summary(config.model)}: {len(splits.train)} images of {size}, {len(splits.classes)} classes, "
        f"{'bf16' if settings.autocast else 'float32'} on {device}; run directory {out}"
    )


def build_settings(
    config: RunConfig, network: MultiExitNetwork, split: PreparedSplit, device: torch.device
) -> TrainSettings:
    """How a step is made, from the config."""
    section = config.train
    exits = len(config.model.exits) + 1
    names = [name for name, _ in network.blocks]
    with with_location(config, "train"):
        frozen = tuple(
            (block_position(each.until, names, f"freeze.{index}.until") + 1, each.epochs)
            for index, each in enumerate(section.freeze)
        )
    base_rate = float(section.optimizer.options["lr"])
    schedule = instantiate_partial(section.schedule, SCHEDULES)
    return TrainSettings(
        epochs=section.epochs,
        batch_size=section.batch_size,
        seed=section.seed,
        augment=build_augmentations(config.augment, split),
        transform=build_transform(config.data, channels_last=section.channels_last),
        loss=instantiate_partial(section.loss, LOSSES),
        exit_weights=section.exit_weights or (1.0,) * exits,
        learning_rate=partial(schedule, lr=base_rate),
        gradient_clip_norm=section.gradient_clip_norm,
        autocast=choose_autocast(section.precision, network, device),
        compile=section.compile,
        trunk_only_epochs=section.trunk_only_epochs,
        frozen=frozen,
    )


def _run_directory(config_path: Path | None, out: Path | None) -> Path:
    if out is not None:
        return out
    if config_path is None:
        raise UsageError("give --config FILE, or --resume with --out RUN to continue a run by its own config")
    return Path("runs") / config_path.stem


def _check_same_run(config: RunConfig, out: Path) -> None:
    """A continued run must be the same run, but for its length and where it runs."""
    old, new = (_flat(dataclasses.asdict(each)) for each in (read_config(out / "config.yaml"), config))
    changed = [
        key
        for key in {**old, **new}
        if old.get(key) != new.get(key) and key not in _FREE_ON_RESUME and not key.startswith(("sweep.", "origins"))
    ]
    if changed:
        key = changed[0]
        raise UsageError(
            f"{out}: was trained with {key} = {old.get(key)!r}, the config now says {new.get(key)!r}; "
            "resume with the run's own config (no --config), or start another run with --out"
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, tuple | list):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, child in items:
        if name not in ("key", "where", "option_places"):  # a part's place in its file
            flat |= _flat(child, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _environment(device: torch.device, settings: TrainSettings) -> dict[str, Any]:
    return {
        "greenedge": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "precision": "bf16" if settings.autocast else "float32",
    }
