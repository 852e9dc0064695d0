"""A run continued: its state and history brought to where it stopped, if it is the same run."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from greenedge.augment import LEARNED
from greenedge.config import RunConfig
from greenedge.data.prepared import PreparedSplit
from greenedge.data.splits import former_split_digest
from greenedge.errors import CheckpointError, UsageError
from greenedge.training.history import HistoryRecord, ends_early, read_history, write_history
from greenedge.training.run_files import HISTORY, STATE
from greenedge.training.settings import TrainSettings
from greenedge.training.state import TrainingState, restore_state

# What may change between a run and its continuation without making it another run.
_FREE = ("train.epochs", "train.device", "train.keep_state", "train.accumulate", "data.path")
_FREE_SECTIONS = ("sweep.", "origins", "train.checkpoint_every", "train.loggers", "train.early_stopping")

_log = logging.getLogger("greenedge")


def check_same_run(old: RunConfig, new: RunConfig, out: Path) -> None:
    """A continued run must be the same run, but for its length and where it runs.

    Args:
        old: the config that the run has.
        new: the config to continue it by.
        out: the run directory.

    Raises:
        UsageError: another key has changed.
    """
    before, now = (_flat(dataclasses.asdict(each)) for each in (old, new))
    for key in {**before, **now}:
        if before.get(key) == now.get(key) or key in _FREE or key.startswith(_FREE_SECTIONS):
            continue
        raise UsageError(
            f"{out}: was trained with {key} = {before.get(key)!r}, the config now says {now.get(key)!r}; "
            "resume with the run's own config (no --config), or start another run with --out"
        )


def note_other_length(old: RunConfig, new: RunConfig) -> None:
    """Logs that a run ends earlier than it was to, or that its schedule changes with its length."""
    before, now = old.train.epochs, new.train.epochs
    if now < before:
        _log.warning("note: the run was given %d epochs and now ends after %d (train.epochs)", before, now)
    if now != before and new.train.schedule.name not in ("constant", "plateau"):
        how = "stretched" if now > before else "shortened"
        _log.warning("note: the %s schedule is %s to %d epochs from here on", new.train.schedule.name, how, now)
    if now != before and any(each.name in LEARNED for each in new.augment):
        _log.warning("note: the loss of the masks now fades out over %d epochs", now)
    if now > before and new.train.average_last is not None:
        _log.warning(
            "note: the average of the last %d epochs is begun anew before epoch %d", new.train.average_last, now
        )


def read_finished(out: Path, config: RunConfig) -> list[HistoryRecord]:
    """Reads the history of a run whose state was not kept, which can be finished, and no more.

    Raises:
        CheckpointError: the history is damaged, or more epochs are asked for than are done.
    """
    history = read_history(out / HISTORY, len(config.model.exits) + 1)
    if len(history) < config.train.epochs and not ends_early(history, config.train.early_stopping):
        raise CheckpointError(
            f"{out}: {len(history)} epochs are done, and {STATE} was not kept (train.keep_state: false) or removed, so "
            "no more can be added; start another run with --out"
        )
    return history


def restore_run(state: TrainingState, settings: TrainSettings, split: PreparedSplit, out: Path) -> None:
    """Brings the state and the history to where the run stopped.

    Args:
        state: new, of the same network.
        settings: how steps are made.
        split: the training images.
        out: the run directory.

    Raises:
        CheckpointError: a file is damaged, or of another run.
        UsageError: more epochs are done than are asked for.
    """
    restored = restore_state(out / STATE, state, settings.steps_per_epoch(len(split)), former_split_digest(split))
    if state.epoch > settings.epochs:
        raise UsageError(f"{out}: {state.epoch} epochs are done, train.epochs is {settings.epochs}; give no fewer")
    if restored.by_former_name:
        _log.warning(
            "note: this run was started before images were named by their pixels; that they are the same is assumed"
        )
    if restored.parts != settings.parts:
        _log.warning(
            "note: each step was computed in %d parts (processes x train.accumulate) and is now in %d; the order of "
            "the images stays, the weights will differ from those of an unbroken run",
            restored.parts,
            settings.parts,
        )
    _log.info("resuming after epoch %d%s", state.epoch, f", step {state.step}" if state.step else "")

    path = out / HISTORY
    anew = f"remove it and resume: it is written anew from {STATE}"
    way_out = anew if restored.has_history else "put back a copy of it, or start another run with --out"
    if not path.exists() and restored.has_history:
        if state.history:
            _log.warning("note: %s is missing and is written anew from %s", path, STATE)
            write_history(path, state.history)
        return
    records = read_history(path, state.network.num_exits, way_out)
    if len(records) < state.epoch or (restored.has_history and records[: state.epoch] != state.history):
        raise CheckpointError(f"{path}: is not the record of the {state.epoch} epochs that are done; {way_out}")
    state.history = records[: state.epoch]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, tuple | list):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, child in items:
        if name not in ("key", "where", "option_places"):  # a component's place in its file
            flat |= _flat(child, f"{prefix}.{name}" if prefix else str(name))
    return flat
