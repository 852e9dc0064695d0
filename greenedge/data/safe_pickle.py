"""Reads pickles of plain values and numpy arrays without running anything that they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.data.pickle_arrays import array_names
from greenedge.data.pickle_machine import PickleError, PickleMachine, check_plain
from greenedge.errors import DataError

_LEAVES = (np.ndarray, np.generic, np.dtype)


def read_pickle(path: Path) -> Any:
    """Reads a pickle of dict, list, tuple, str, bytes, numbers, None and numpy arrays, which are read-only.

    Raises:
        DataError: the file is missing, damaged, expands too far, or names anything else. Nothing in it has run.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is not a file; expected a pickle")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            value = PickleMachine(file, size, array_names(size)).run()
            check_plain(value, _LEAVES, size)
            return value
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except PickleError as error:
        foreign = str(error).startswith("names")
        advice = ", and greenedge reads only plain values and numpy arrays from pickles" if foreign else ""
        raise DataError(f"{path}: {error}{advice}") from None
