"""`greenedge train`: from a config to a run directory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from greenedge.config import config_to_text
from greenedge.device.processes import joined_processes
from greenedge.errors import ConfigError
from greenedge.files import write_text
from greenedge.reporting.training import header
from greenedge.training.agreement import check_same_start
from greenedge.training.completion import complete_config
from greenedge.training.configs import read_config
from greenedge.training.feature_pass import PassStopped
from greenedge.training.head_training import with_kept_features
from greenedge.training.history import HistoryRecord
from greenedge.training.interruption import StopSignals
from greenedge.training.keep import write_start
from greenedge.training.plugins_in_use import unknown_names
from greenedge.training.resume import check_same_run, note_other_length, read_finished, restore_run
from greenedge.training.run import build_run
from greenedge.training.run_directory import chosen_directory, is_begun, locked
from greenedge.training.run_files import CONFIG, STATE
from greenedge.training.run_loggers import check_loggers
from greenedge.workflows.train_epochs import run_epochs

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
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
        resume: continue the run that is in `out`; where there is none it is started. So do processes that are started
            anew because one was lost.
        stop: says when to stop; None: never.

    Raises:
        GreenedgeError: anything in the config, the data or the run directory that cannot be used.
        ProcessLostError: another process of the training has ended.
    """
    out = chosen_directory(config_path, out)
    with joined_processes() as processes, locked(out) if processes.is_first else nullcontext():
        resume = resume or processes.restarts > 0
        begun = processes.first_says(lambda: is_begun(out, resume=resume, has_config=config_path is not None))
        own_config = out / CONFIG
        try:
            config = complete_config(read_config(config_path or own_config, overrides))
        except ConfigError as error:
            raise (begun and unknown_names(out, error)) or error from None
        check_loggers(config)
        if begun:
            check_same_run(read_config(own_config), config, out)
            if processes.first_says(lambda: not (out / STATE).is_file()):
                return TrainOutcome(out, read_finished(out, config), None)

        run = build_run(config, out, pretrained=not begun, processes=processes)
        if begun:
            restore_run(run.state, run.settings, run.splits.train, out)
            note_other_length(read_config(own_config), config)
        check_same_start(config, run.state, processes)
        if processes.is_first:
            if not begun:
                (out / STATE).unlink(missing_ok=True)  # of a start that was cut short: another config's, perhaps
            write_text(own_config, config_to_text(config))  # first: a directory with a config and no more starts anew
            if not begun:
                write_start(run)

        if not run.splits.has_calibration:
            _log.warning(
                "note: data.calibration_per_class sets no images aside, so nothing is chosen: the best weights are the "
                "last"
            )
        _log.info("%s", header(run))
        stop = stop or StopSignals()
        try:
            run = with_kept_features(run, stop.requested)
        except PassStopped:  # what is in the run directory can be resumed
            return TrainOutcome(out, run.state.history, None if stop.received is None else stop.received.name)
        stopped_by = run_epochs(run, stop)
        return TrainOutcome(out, run.state.history, stopped_by)
