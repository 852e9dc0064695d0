"""NumPy's .npy format, read with what is expected known beforehand: a header decides nothing, it is compared."""

from __future__ import annotations

import math
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

DType = type[np.generic] | np.dtype[Any]

# What numpy's header parser raises on a damaged header.
_HEADER_ERRORS = (ValueError, TypeError, LookupError, EOFError, SyntaxError, TokenError, UnicodeError, RecursionError)


class ArrayError(ValueError):
    """A file that is not the array it should be: a fragment such as `is cut short`."""


class OtherArrayError(ArrayError):
    """A sound array of another type or shape."""


def read_array(file: IO[bytes], dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Reads an array of that very type and shape; nothing is allocated for any other.

    Raises:
        OtherArrayError: another array.
        ArrayError: a damaged one, or one that is cut short.
        OSError: the file cannot be read.
    """
    _check_header(file, dtype, shape)
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    content = bytearray(wanted)
    view, filled = memoryview(content), 0
    while filled < wanted:
        piece = file.read(min(wanted - filled, 1 << 24))
        if not piece:
            raise ArrayError("is damaged or cut short")
        view[filled : filled + len(piece)] = piece
        filled += len(piece)
    if file.read(1):
        raise ArrayError("is damaged: it holds more than its header says")
    return np.frombuffer(content, dtype).reshape(shape)


def map_array(path: Path, dtype: DType, shape: tuple[int, ...]) -> np.memmap:
    """A read-only memory map of an array of that type and shape, of any size: nothing is read, nothing reserved.

    Raises:
        ArrayError: another array, or one that is cut short.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        _check_header(file, dtype, shape)
        offset = file.tell()
    if path.stat().st_size != offset + math.prod(shape) * np.dtype(dtype).itemsize:
        raise ArrayError("is damaged or cut short")
    return np.memmap(path, dtype, "r", offset, shape)


def _check_header(file: IO[bytes], dtype: DType, shape: tuple[int, ...]) -> None:
    """Reads past the header, which must be of C order and of this type and shape."""
    try:
        version = np.lib.format.read_magic(file)
        reads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        found_shape, fortran_order, found_dtype = reads[version](file)
    except _HEADER_ERRORS:
        raise ArrayError("is damaged or cut short") from None
    if found_dtype != np.dtype(dtype) or found_shape != shape or (fortran_order and len(shape) > 1):
        raise OtherArrayError(f"holds {found_dtype} {found_shape}, not {np.dtype(dtype)} {shape}")
