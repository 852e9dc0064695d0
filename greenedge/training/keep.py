"""What a run directory keeps of a run: how it started, and the weights, the history and the state of its epochs."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import cast

from greenedge.config import config_to_text
from greenedge.cost.flops import count_costs
from greenedge.data.seen import seen_images
from greenedge.device.environment import environment
from greenedge.files import write_json
from greenedge.training.checkpoint import CheckpointInfo, save_checkpoint
from greenedge.training.finite import check_finite
from greenedge.training.history import HistoryRecord, is_best, write_history
from greenedge.training.plugins_in_use import plugins_of
from greenedge.training.run import Run
from greenedge.training.run_files import BEST, ENVIRONMENT, HISTORY, LAST, STATE
from greenedge.training.state import save_state

_log = logging.getLogger("greenedge")


def write_start(run: Run) -> None:
    """Writes what a run directory holds before the first epoch; from then on the run can be resumed."""
    write_json(run.out / ENVIRONMENT, {**environment(run.device), "precision": run.precision})
    save_state(run.out / STATE, run.state)


def checkpoint_info(run: Run) -> CheckpointInfo:
    """The metadata of a run's weights, before any epoch."""
    train, calibration = run.splits.train, run.splits.calibration
    return CheckpointInfo(
        config_to_text(run.config),
        run.splits.classes,
        epoch=0,
        stored_size=train.image_size,
        seen=seen_images(train, calibration),
        cost=count_costs(run.state.network),
        plugins=plugins_of(run.config),
    )


def keep_epoch(run: Run, info: CheckpointInfo, record: HistoryRecord) -> None:
    """Adds an epoch to the history; the first process writes weights, history and state.

    The state comes last, so that all of it can be made again.

    Args:
        run: after the steps of the epoch.
        info: of any epoch of the run.
        record: of this one.

    Raises:
        CheckpointError: a file cannot be written.
    """
    state, out = run.state, run.out
    before, state.history = state.history, [*state.history, record]
    if not run.settings.processes.is_first:
        return
    chosen = not run.splits.has_calibration or is_best(record, before)
    for name in (LAST, BEST) if chosen else (LAST,):
        save_checkpoint(out / name, state.evaluated, dataclasses.replace(info, epoch=state.epoch))
    write_history(out / HISTORY, state.history)
    save_state(out / STATE, state)


class PeriodicSaving:
    """Saves the state within an epoch as often as the config says; called after each step.

    All processes hold the same state, so that the first can save it whenever it wishes.

    Args:
        run: whose state is saved.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._every = run, run.config.train.checkpoint_every
        self._steps, self._saved_at = 0, time.monotonic()

    def __call__(self) -> None:
        """Saves the state where it is due.

        Raises:
            TrainingError: a number of it is no longer finite.
            CheckpointError: it cannot be written.
        """
        self._steps += 1
        if self._is_due():
            check_finite(self._run.state)
            save_state(self._run.out / STATE, self._run.state)
            self._steps, self._saved_at = 0, time.monotonic()

    def _is_due(self) -> bool:
        if self._every is None or not self._run.settings.processes.is_first:
            return False
        if self._every.steps is not None:
            return self._steps >= self._every.steps
        return time.monotonic() - self._saved_at >= 60 * cast(float, self._every.minutes)


def settle_state(run: Run) -> None:
    """Keeps or removes the optimizer's state of a run that is done, as its config says."""
    path = run.out / STATE
    if not run.config.train.keep_state:
        path.unlink(missing_ok=True)
        return
    _log.info(
        "%s (%.1f MB) is only needed to add epochs to this run; remove it, or set train.keep_state: false, where that "
        "is not wanted",
        path,
        path.stat().st_size / 1e6,
    )
