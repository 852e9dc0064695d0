"""Locks a run directory for one training, and recognises one whose training was killed at its start."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from greenedge.errors import CheckpointError, UsageError
from greenedge.files import remove_abandoned
from greenedge.training.run_files import (
    BEST,
    CONFIG,
    ENVIRONMENT,
    FEATURES,
    HISTORY,
    HISTORY_TABLE,
    LAST,
    LOCK,
    LOGS,
    STATE,
)
from greenedge.training.state import read_state

_log = logging.getLogger("greenedge")

# All files that exist before the first epoch is done.
_START = {LOCK, CONFIG, ENVIRONMENT, STATE, FEATURES, LOGS}
_FILES = (CONFIG, ENVIRONMENT, STATE, HISTORY, HISTORY_TABLE, BEST, LAST, "training.png", "mixing.png")


def chosen_directory(config: Path | None, out: Path | None) -> Path:
    """The run directory that is named, or else `runs/` and the config's name.

    Raises:
        UsageError: neither is given.
    """
    if out is not None:
        return out
    if config is None:
        raise UsageError("give --config FILE, or --resume with --out RUN to continue a run by its own config")
    return Path("runs") / config.stem


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Locks a run directory for this process; it is created if missing, and removed afterwards if it is empty.

    The lock is the operating system's, which releases it however the process ends.

    Raises:
        UsageError: another training has locked it.
        OSError: it cannot be created.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    handle = _lock(out)
    try:
        # Files that killed processes left half-written.
        for name in _FILES:
            remove_abandoned(out / name)
        yield
    finally:
        with suppress(OSError):
            (out / LOCK).unlink()
        os.close(handle)
        # Folders that are not empty are kept.
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def is_unfinished_start(out: Path) -> bool:
    """Tells whether a directory holds only files of a training that was killed before its first step was saved.

    Raises:
        CheckpointError: the state in it is damaged.
    """
    names = {path.name for path in out.iterdir()}
    if not names <= _START:
        return False
    if not {CONFIG, STATE} <= names:
        return True
    content = read_state(out / STATE)
    return content.get("epoch") == 0 and content.get("step") == 0


def _lock(out: Path) -> int:
    path = out / LOCK
    while True:
        try:
            out.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            continue  # another process has just removed the empty directory
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{out}: is a file, or lies below one; choose another --out") from None

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except BlockingIOError:
            os.close(handle)
            raise UsageError(
                f"{out}: another training is running in this directory; wait for its end, or choose another --out"
            ) from None
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(handle)
            raise CheckpointError(
                f"{out}: cannot be locked ({error.strerror}), so two trainings could write into it at once; "
                "choose another --out, on a file system with locks"
            ) from None
        # The owner has removed the file since it was opened, so try again.
        os.close(handle)


def is_begun(out: Path, *, resume: bool, has_config: bool) -> bool:
    """Whether a locked run directory holds a run that is to be continued, and not started.

    Args:
        out: the run directory.
        resume: continue a run where there is one.
        has_config: a config was given, by which one could be started.

    Raises:
        UsageError: the directory is not free, or there is no config to start by.
        CheckpointError: it holds something that is no run.
    """
    names = {path.name for path in out.iterdir()} - {LOCK}
    fresh = is_unfinished_start(out)
    if not resume:
        if not fresh:
            raise UsageError(
                f"{out}: holds a run or other files already; continue it with --resume, or train into another --out"
            )
        if names:
            _log.warning("note: %s holds a start that was cut short; it is started anew", out)
        return False

    if not fresh or {CONFIG, STATE} <= names:
        if CONFIG not in names:
            raise CheckpointError(f"{out}: holds no run to resume (no {CONFIG}), but other files; choose another --out")
        return True
    if not has_config and CONFIG not in names:
        raise UsageError(f"{out}: holds no run yet; give --config FILE to start one")
    _log.info("%s: holds no run yet, so it is started", out)
    return False
