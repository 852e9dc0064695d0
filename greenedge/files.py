"""Writes files atomically: under a temporary name that is renamed once the file is complete."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SEAL = "digest"  # the key under which a JSON file keeps the digest of all its other keys


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` on a temporary neighbour of `path`, flushes it to disk and renames it over `path`.

    If writing fails or is interrupted, `path` keeps its old content.

    Raises:
        OSError: the file could not be written; the error names `path`, which is unchanged. The temporary file is
            removed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        handle, temporary = _new_neighbour(path)
    except OSError as error:
        raise _naming(path, error) from None
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes private files, and results are ordinary ones.
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _naming(path, error) from None
        raise
    finally:
        os.close(handle)


def _new_neighbour(path: Path) -> tuple[int, Path]:
    """Opens a temporary file beside `path`, locked for as long as this process keeps it open."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=f".partial{path.suffix}")
        try_lock(handle)
        if os.fstat(handle).st_nlink > 0:
            return handle, Path(name)
        # Another process removed the file as abandoned before it was locked.
        os.close(handle)


def remove_abandoned(path: Path) -> None:
    """Removes the temporary files that killed processes left beside `path`: those that no process has locked."""
    for neighbour in path.parent.glob(f".{glob.escape(path.name)}.*.partial{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError), neighbour.open("rb+") as file:
            if try_lock(file.fileno()):
                neighbour.unlink()


def remove_abandoned_folders(folders: Iterable[Path]) -> None:
    """Removes temporary folders that killed processes left behind: those that no process has locked."""
    for folder in folders:
        # A folder that has vanished, or is another user's, is passed over.
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if try_lock(handle):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def try_lock(handle: int) -> bool:
    """Locks an open file or folder until it is closed or the process ends.

    Returns False where another process has it locked, or the file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes bytes, atomically."""
    write_atomically(path, lambda temporary: _write_content(temporary, content))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any, *, sealed: bool = False) -> None:
    """Writes `value` as indented JSON, atomically. NaN is refused, since JSON has none.

    Args:
        path: the file.
        value: of plain mappings, lists and scalars.
        sealed: add the digest of a mapping's keys, so that `config/records.py` notices a change in place.
    """
    if sealed:
        value = {**value, SEAL: seal_of(value)}
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def seal_of(value: Any) -> str:
    """Returns the SHA-256 of a mapping, independent of the order of its keys and the layout of its file."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _naming(path: Path, error: OSError) -> OSError:
    """Restates an error of the temporary file as one of the file that was to be written."""
    return OSError(error.errno, f"cannot be written ({error.strerror or error})", str(path))


def _write_content(path: Path, content: bytes | memoryview) -> None:
    path.write_bytes(content)


def umask() -> int:
    """Returns the permission bits that new files and folders do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
