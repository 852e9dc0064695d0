"""Files that are whole or absent: every result is written to a temporary name and renamed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEAL = "digest"  # the key under which a JSON file keeps the digest of all its other keys


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` on a temporary neighbour of `path`, flushes it to disk and renames it over `path`.

    Whatever happens on the way (a full disk, an interrupt), `path` holds its old content or the new one.

    Raises:
        OSError: the file could not be written; it names `path`, which is as before, and no neighbour stays behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=f".partial{path.suffix}")
    except OSError as error:
        raise _naming(path, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; results are ordinary files
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _naming(path, error) from None
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, atomically."""
    write_atomically(path, lambda temporary: _write_utf8(temporary, text))


def write_json(path: Path, value: Any, *, sealed: bool = False) -> None:
    """Writes `value` as indented JSON, atomically. NaN is refused: JSON has none.

    Args:
        path: the file.
        value: of plain mappings, lists and scalars.
        sealed: add the digest of a mapping's keys, so that `config/records.py` notices a change in place.
    """
    if sealed:
        value = {**value, SEAL: seal_of(value)}
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def seal_of(value: Any) -> str:
    """SHA-256 of a mapping, whatever the order of its keys and the layout of its file."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _naming(path: Path, error: OSError) -> OSError:
    """The same error about the file that was wanted, not its temporary neighbour."""
    return OSError(error.errno, f"cannot be written ({error.strerror or error})", str(path))


def _write_utf8(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
