"""Pickles read without running anything that they name: plain values and numpy arrays only."""

from __future__ import annotations

import _codecs
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.errors import DataError

_ARRAYS = np.zeros(0).__reduce__()[0]  # numpy's own rebuilding function, wherever this version keeps it
_SCALARS = np.float64(0).__reduce__()[0]
_BUFFERS = np.zeros(1).__reduce_ex__(5)[0]
_MODULES = ("numpy.core", "numpy._core")
# What a damaged pickle can make the machine that reads it raise.
_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError),
    *(OverflowError, MemoryError, struct.error),
)
_ADMITTED: dict[tuple[str, str], Any] = {
    **{(f"{module}.multiarray", "_reconstruct"): _ARRAYS for module in _MODULES},
    **{(f"{module}.multiarray", "scalar"): _SCALARS for module in _MODULES},
    **{(f"{module}.numeric", "_frombuffer"): _BUFFERS for module in _MODULES},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _codecs.encode,  # how old pickles write the bytes of an array
}


def read_pickle(path: Path) -> Any:
    """What a pickle holds: dict, list, tuple, str, bytes, numbers, None and numpy arrays.

    Raises:
        DataError: no such file, damaged, or naming anything else; nothing in it has run.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file).load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except _Refused as error:
        raise DataError(
            f"{path}: names {error}, and greenedge reads only plain values and numpy arrays from pickles"
        ) from None
    except _DAMAGE as error:
        raise DataError(f"{path}: is damaged, or no pickle ({type(error).__name__})") from None


class _Refused(Exception):  # noqa: N818  # becomes a DataError
    """A pickle names something else than plain values and arrays."""


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{module}.{name}")
        return _ADMITTED[module, name]

    def persistent_load(self, _: Any) -> Any:
        raise _Refused("an object kept elsewhere")
