"""The loggers of a run: checked before it, opened with what is done already, and left out where they fail."""

from __future__ import annotations

import importlib.util
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from greenedge.config import RunConfig, instantiate
from greenedge.config.origins import with_location
from greenedge.errors import ConfigError
from greenedge.files import write_text
from greenedge.training.history import HistoryRecord
from greenedge.training.loggers import LOGGERS, LoggedRun, Logger
from greenedge.training.run import Run
from greenedge.training.run_files import HISTORY, LOGS

_log = logging.getLogger("greenedge")
_ID = "id.txt"


def check_loggers(config: RunConfig) -> None:
    """Looks for the libraries of a config's loggers, without importing them.

    Raises:
        ConfigError: one is not installed, or a logger is named twice.
    """
    names = [each.name for each in config.train.loggers]
    with with_location(config, "train"):
        for index, name in enumerate(names):
            spec = importlib.util.find_spec(name)
            # A folder of the name, such as wandb makes, would be found too.
            if spec is None or spec.origin is None:
                raise ConfigError(
                    f"{name} is not installed; pip install 'greenedge[{name}]', or remove it here",
                    key=f"loggers.{index}",
                )
            if name in names[:index]:
                raise ConfigError(f"{name} is named twice; remove one of the two", key=f"loggers.{index}")


@contextmanager
def opened_loggers(run: Run) -> Iterator[Callable[[HistoryRecord], None]]:
    """Opens the loggers of a run in its first process, and closes them at the end.

    Yields:
        what adds an epoch to all of them; the epochs that are done are added already.

    Raises:
        ConfigError: a logger cannot be started.
    """
    opened: dict[str, Logger] = {}
    if run.settings.processes.is_first and run.config.train.loggers:
        opened = _open(run)

    def record_epoch(record: HistoryRecord) -> None:
        for name, logger in list(opened.items()):
            try:
                logger.record(record)
            except Exception as error:  # noqa: BLE001  # foreign code, for which no training may be lost
                del opened[name]
                _warn(name, error)

    try:
        for record in run.state.history:
            record_epoch(record)
        yield record_epoch
    finally:
        for name, logger in opened.items():
            try:
                logger.close()
            except Exception as error:  # noqa: BLE001
                _warn(name, error)


def _open(run: Run) -> dict[str, Logger]:
    folder = run.out / LOGS
    folder.mkdir(exist_ok=True)
    if not (folder / _ID).exists():
        write_text(folder / _ID, secrets.token_hex(8) + "\n")
    logged = LoggedRun(run.out, folder, (folder / _ID).read_text().strip(), run.config)

    opened: dict[str, Logger] = {}
    for index, each in enumerate(run.config.train.loggers):
        try:
            opened[each.name] = instantiate(each, LOGGERS, logged)
        except Exception as error:  # foreign code: no account, no server, no rights, ...
            with with_location(run.config, "train"):
                raise ConfigError(
                    f"{each.name} cannot be started ({_first_line(error)}); fix that, or remove it here",
                    key=f"loggers.{index}",
                ) from error
    return opened


def _warn(name: str, error: Exception) -> None:
    _log.warning(
        "note: the logger %s fails (%s) and gets no more epochs; the training goes on, %s has all of them, and "
        "--resume gives them to the logger again",
        name,
        _first_line(error),
        HISTORY,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
