"""What happens after each epoch of a training: evaluate, choose, keep, draw and tell."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from greenedge.config import RunConfig, config_to_text
from greenedge.cost.flops import count_costs
from greenedge.data.run_splits import Splits
from greenedge.data.seen import seen_images
from greenedge.errors import CheckpointError
from greenedge.inference.collect import collect_logits
from greenedge.reporting.figures import save_figure
from greenedge.reporting.training import epoch_line
from greenedge.reporting.training_plot import plot_history
from greenedge.training.checkpoint import CheckpointInfo, save_checkpoint
from greenedge.training.finite import not_finite
from greenedge.training.history import HistoryRecord, write_history
from greenedge.training.interruption import StopSignals
from greenedge.training.loop import TrainSettings, enough_memory, fit
from greenedge.training.run_directory import HISTORY, STATE
from greenedge.training.state import TrainingState, save_state

_log = logging.getLogger("greenedge")


@dataclasses.dataclass(frozen=True)
class Run:
    """A training that is ready to go on.

    Attributes:
        state: where it stands.
        splits: its images.
        settings: how steps are made.
        config: what it was built from, resolved.
        device: where it runs.
        out: its run directory.
    """

    state: TrainingState
    splits: Splits
    settings: TrainSettings
    config: RunConfig
    device: torch.device
    out: Path


def run_epochs(run: Run, stop: StopSignals) -> str | None:
    """Trains to the end or to a signal; whatever happens, the last state on disk can be resumed.

    Returns:
        the name of the signal that stopped it before its end, or None.

    Raises:
        TrainingError: a number is no longer finite; nothing of that epoch is kept.
        CheckpointError: a file cannot be written.
    """
    state, splits, out = run.state, run.splits, run.out
    seen = seen_images(splits.train, splits.calibration)
    stored_size = splits.train.images.shape[-1]
    cost = count_costs(state.network)
    info = CheckpointInfo(config_to_text(run.config), splits.classes, 0, stored_size, seen, cost)

    for record in fit(state, splits.train, run.settings, stop.requested):
        accuracy = _accuracies(run)
        chosen = not splits.has_calibration or _mean(accuracy) >= _best(state.history)
        for name in ("last", "best") if chosen else ("last",):
            path = out / f"{name}.safetensors"
            save_checkpoint(path, state.evaluated, dataclasses.replace(info, epoch=state.epoch))

        entry = HistoryRecord(
            **dataclasses.asdict(record), split="calibration" if splits.has_calibration else "val", accuracy=accuracy
        )
        state.history = [*state.history, entry]
        write_history(out / HISTORY, state.history)
        save_state(out / STATE, state)
        save_figure(plot_history(state.history), out / "training.png")
        _log.info("%s", epoch_line(entry, run.settings.epochs))

    if state.epoch < run.settings.epochs and stop.received is not None:
        save_state(out / STATE, state)
        return stop.received.name
    _settle_state(out / STATE, keep=run.config.train.keep_state)
    return None


def _accuracies(run: Run) -> tuple[float, ...]:
    """Of each exit, in [0, 1], on the images that the training is watched on."""
    split = run.splits.monitor
    try:
        with enough_memory(min(len(split), 250)):
            logits = collect_logits(run.state.evaluated, split, run.settings.transform, autocast=run.settings.autocast)
    except CheckpointError:  # of logits that are NaN or infinite, the largest of which would say nothing
        raise not_finite(f"what the network gives for the {split.name} images is") from None
    labels = split.labels[split.rows]
    return tuple(float((each.argmax(axis=1) == labels).mean()) for each in logits)


def _best(history: Sequence[HistoryRecord]) -> float:
    return max((_mean(old.accuracy) for old in history), default=0.0)


def _mean(accuracy: Sequence[float]) -> float:
    return sum(accuracy) / len(accuracy)


def _settle_state(path: Path, *, keep: bool) -> None:
    """Keeps or removes the optimizer's state of a run that is done."""
    if not keep:
        path.unlink(missing_ok=True)
        return
    _log.info(
        "%s (%.1f MB) is only needed to add epochs to this run; remove it, or set train.keep_state: false, where that "
        "is not wanted",
        path,
        path.stat().st_size / 1e6,
    )
