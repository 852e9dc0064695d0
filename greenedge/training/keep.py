"""What a run directory keeps of a run: how it started, and the weights, the history and the state of its epochs."""

from __future__ import annotations

import dataclasses
import logging

from greenedge.config import config_to_text
from greenedge.cost.flops import count_costs
from greenedge.data.seen import seen_images
from greenedge.device.environment import environment
from greenedge.files import write_json
from greenedge.training.checkpoint import CheckpointInfo, save_checkpoint
from greenedge.training.history import HistoryRecord, is_best, write_history
from greenedge.training.plugins import plugins_of
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
        stored_size=train.images.shape[-1],
        seen=seen_images(train, calibration),
        cost=count_costs(run.state.network),
        plugins=plugins_of(run.config),
    )


def keep_epoch(run: Run, info: CheckpointInfo, record: HistoryRecord) -> None:
    """Writes weights, history and state after an epoch; the state comes last, so that all of it can be made again.

    Args:
        run: after the steps of the epoch.
        info: of any epoch of the run.
        record: of this one.

    Raises:
        CheckpointError: a file cannot be written.
    """
    state, out = run.state, run.out
    chosen = not run.splits.has_calibration or is_best(record, state.history)
    for name in (LAST, BEST) if chosen else (LAST,):
        save_checkpoint(out / name, state.evaluated, dataclasses.replace(info, epoch=state.epoch))
    state.history = [*state.history, record]
    write_history(out / HISTORY, state.history)
    save_state(out / STATE, state)


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
