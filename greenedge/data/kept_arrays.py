"""Large arrays kept in a folder of their own, so that they need not be computed again: all of them whole, or none."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from greenedge.config.records import RecordError, read_record
from greenedge.data.arrays import ArrayError, map_array
from greenedge.data.folders import new_folder
from greenedge.errors import DataError
from greenedge.files import write_json

MANIFEST = "arrays.json"

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class ArraySpec:
    """What a kept array holds.

    Attributes:
        name: of its file, without `.npy`.
        dtype: such as `<f2`.
        shape: rows first.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Of its numbers."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class KeptManifest:
    """The content of `arrays.json`.

    Attributes:
        source: names all that the arrays were computed from.
        digests: name of an array -> SHA-256 of its file.
    """

    source: str
    digests: dict[str, str]


def open_arrays(folder: Path, source: str, specs: Sequence[ArraySpec]) -> tuple[np.ndarray, ...] | None:
    """Maps arrays that `write_arrays` wrote, read-only; each is read once to compare it with its digest.

    Args:
        folder: that they are in.
        source: that they must name.
        specs: what they must hold.

    Returns:
        None where there are none, those of another source, or damaged ones, which is logged.
    """
    try:
        manifest = read_record(folder / MANIFEST, KeptManifest)
        if manifest.source != source:
            return None
        found = []
        for spec in specs:
            path = _path(folder, spec)
            if manifest.digests.get(spec.name) != _file_digest(path):
                raise ArrayError("was changed or damaged after it was written")
            found.append(map_array(path, np.dtype(spec.dtype), spec.shape))
    except FileNotFoundError:
        return None
    except (ArrayError, RecordError, OSError) as error:
        _log.warning("note: %s: what is kept there cannot be used (%s); it is computed again", folder, error)
        return None
    return tuple(found)


def write_arrays(
    folder: Path, source: str, specs: Sequence[ArraySpec], pieces: Iterable[Sequence[np.ndarray]]
) -> tuple[np.ndarray, ...]:
    """Writes arrays as they are computed, a piece of some rows of each after the other, and maps them.

    The folder gets its name once all of it is written; what was in a folder of that name is removed then.

    Args:
        folder: a folder of their own.
        source: names all that the arrays are computed from.
        specs: what they hold.
        pieces: of each array, some rows; all rows in all.

    Raises:
        DataError: they cannot be written.
    """
    with new_folder(folder) as partial:
        with ExitStack() as files:
            opened = [files.enter_context(_path(partial, spec).open("w+b")) for spec in specs]
            for file, spec in zip(opened, specs, strict=True):
                _write_header(file, spec)
            for piece in pieces:
                for file, spec, rows in zip(opened, specs, piece, strict=True):
                    file.write(np.ascontiguousarray(rows, dtype=spec.dtype).data)
        manifest = {"source": source, "digests": {spec.name: _file_digest(_path(partial, spec)) for spec in specs}}
        write_json(partial / MANIFEST, manifest, sealed=True)
        remove_arrays(folder)
    return tuple(map_array(_path(folder, spec), np.dtype(spec.dtype), spec.shape) for spec in specs)


def remove_arrays(folder: Path) -> None:
    """Removes a folder of kept arrays, where there is one; any other folder stays, and is refused.

    Raises:
        DataError: it holds something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or any(path.name != MANIFEST and path.suffix != ".npy" for path in folder.iterdir()):
        raise DataError(f"{folder}: holds other files than kept arrays; move it away, or choose another --out")
    shutil.rmtree(folder)


def free_bytes(folder: Path) -> int:
    """How much may be written below a folder, which need not exist yet."""
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(existing).free


def _path(folder: Path, spec: ArraySpec) -> Path:
    return folder / f"{spec.name}.npy"


def _write_header(file: IO[bytes], spec: ArraySpec) -> None:
    header = {"descr": spec.dtype, "fortran_order": False, "shape": spec.shape}
    np.lib.format.write_array_header_1_0(file, header)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
