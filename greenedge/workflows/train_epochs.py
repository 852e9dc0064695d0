"""What happens after each epoch of a training: evaluate, choose, keep, draw and tell."""

from __future__ import annotations

import dataclasses
import logging
import math
import signal
from typing import cast

import numpy as np
import torch

from greenedge.data.prepared import PreparedSplit
from greenedge.errors import CheckpointError
from greenedge.inference.collect import collect_logits
from greenedge.inference.finite import check_finite_logits
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.reporting.figures import save_figure
from greenedge.reporting.image_grid import plot_image_grid
from greenedge.reporting.tables import write_csv
from greenedge.reporting.training import epoch_line, history_table
from greenedge.reporting.training_plot import plot_history
from greenedge.training.finite import not_finite
from greenedge.training.head_training import remove_features
from greenedge.training.history import HistoryRecord, ends_early
from greenedge.training.interruption import StopSignals
from greenedge.training.keep import PeriodicSaving, checkpoint_info, keep_epoch, settle_state
from greenedge.training.kept_features import kept_logits
from greenedge.training.loop import enough_memory, fit
from greenedge.training.mixing_preview import preview_mixing
from greenedge.training.run import Run
from greenedge.training.run_files import HISTORY_TABLE, STATE
from greenedge.training.run_loggers import opened_loggers
from greenedge.training.state import save_state

_log = logging.getLogger("greenedge")


def run_epochs(run: Run, stop: StopSignals) -> str | None:
    """Trains to the end or to a signal; whatever happens, the last state on disk can be resumed.

    Returns:
        the name of the signal that stopped it before its end, or None.

    Raises:
        TrainingError: a number is no longer finite; nothing of that epoch is kept.
        CheckpointError: a file cannot be written.
    """
    state, epochs, is_first = run.state, run.settings.epochs, run.settings.processes.is_first
    info = checkpoint_info(run)

    with opened_loggers(run) as record_epoch:
        for steps in fit(state, run.splits.train, run.settings, stop.requested, PeriodicSaving(run)):
            record = HistoryRecord(
                **dataclasses.asdict(steps),
                split="calibration" if run.splits.has_calibration else "val",
                accuracy=_accuracies(run),
            )
            keep_epoch(run, info, record)
            if is_first:
                table = history_table(state.history)
                write_csv(run.out / HISTORY_TABLE, table.headers, table.rows)
                save_figure(plot_history(state.history), run.out / "training.png")
                if state.mixing is not None:
                    save_figure(plot_image_grid(preview_mixing(run)), run.out / "mixing.png")
            record_epoch(record)
            _log.info("%s", epoch_line(record, epochs))

    stopping = run.settings.early_stopping
    if state.epoch < epochs and not ends_early(state.history, stopping):
        if is_first:
            save_state(run.out / STATE, state)
        return _signal_name(run, stop)
    if state.epoch < epochs and stopping is not None:
        _log.info("the calibration accuracy has not risen for %d epochs: the training ends early", stopping.patience)
    if is_first:
        settle_state(run)
        remove_features(run)
    return None


def _signal_name(run: Run, stop: StopSignals) -> str:
    """The signal that stopped the training; where another process received it, that one's."""
    received = torch.tensor(0 if stop.received is None else int(stop.received))
    return signal.Signals(int(run.settings.processes.gather(received).max())).name


def _accuracies(run: Run) -> tuple[float, ...]:
    """Of each exit, in [0, 1], on the images that the training is watched on, which the processes share out."""
    split, processes = run.splits.monitor, run.settings.processes
    own = split.share(processes.rank, processes.count)
    right = torch.zeros(run.state.network.num_exits, dtype=torch.float64)
    try:
        if len(own):
            labels = own.labels[own.rows]
            right += torch.from_numpy((_monitored_logits(run, own).argmax(axis=2) == labels).sum(axis=1))
    except CheckpointError:  # of logits that are NaN or infinite, the largest of which would say nothing
        right.fill_(math.nan)
    processes.sum_(right)
    if right.isnan().any():
        raise not_finite(f"what the network gives for the {split.name} images is")
    return tuple((right / len(split)).tolist())


def _monitored_logits(run: Run, split: PreparedSplit) -> np.ndarray:
    network, autocast = run.state.evaluated, run.settings.autocast
    with enough_memory(min(len(split), 250)):
        if run.kept_monitor is None:
            return collect_logits(network, split, run.settings.transform, autocast=autocast)
        logits = kept_logits(cast(MultiExitNetwork, network), run.kept_monitor, autocast)
        check_finite_logits(torch.from_numpy(logits))
        return logits
