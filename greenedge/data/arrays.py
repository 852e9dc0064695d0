"""Reads NumPy's .npy files of a known type and shape; the header is only compared with them."""

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
    """A file that is not the expected array; the message is a fragment such as `is damaged or truncated`."""


class OtherArrayError(ArrayError):
    """A valid array of another type or shape."""


def read_array(file: IO[bytes], dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Reads an array of exactly this type and shape; no memory is allocated for any other.

    Raises:
        OtherArrayError: an array of another type or shape.
        ArrayError: a damaged or truncated file.
        OSError: the file cannot be read.
    """
    _check_header(file, dtype, shape)
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    content = bytearray(wanted)
    view, filled = memoryview(content), 0
    while filled < wanted:
        piece = file.read(min(wanted - filled, 1 << 24))
        if not piece:
            raise ArrayError("is damaged or truncated")
        view[filled : filled + len(piece)] = piece
        filled += len(piece)
    if file.read(1):
        raise ArrayError("is damaged: it is longer than its header states")
    return np.frombuffer(content, dtype).reshape(shape)


def map_array(path: Path, dtype: DType, shape: tuple[int, ...]) -> np.memmap:
    """Maps an array of this type and shape, of any size, read-only; no memory is read or reserved.

    Raises:
        ArrayError: another array, or a truncated file.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        _check_header(file, dtype, shape)
        offset = file.tell()
    if path.stat().st_size != offset + math.prod(shape) * np.dtype(dtype).itemsize:
        raise ArrayError("is damaged or truncated")
    return np.memmap(path, dtype, "r", offset, shape)


def map_bytes(path: Path, count: int) -> np.memmap:
    """Maps a file of so many bytes read-only; no memory is read or reserved.

    Raises:
        ArrayError: a file of another length.
        OSError: the file cannot be read.
    """
    found = path.stat().st_size
    if found != count or count == 0:
        raise ArrayError(f"holds {found} bytes, not {count}: it is damaged or truncated")
    return np.memmap(path, np.uint8, "r")


def _check_header(file: IO[bytes], dtype: DType, shape: tuple[int, ...]) -> None:
    """Reads past the header, which must be of C order and of this type and shape."""
    try:
        version = np.lib.format.read_magic(file)
        reads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        found_shape, fortran_order, found_dtype = reads[version](file)
    except _HEADER_ERRORS:
        raise ArrayError("is damaged or truncated") from None
    if found_dtype != np.dtype(dtype) or found_shape != shape or (fortran_order and len(shape) > 1):
        raise OtherArrayError(f"holds {found_dtype} {found_shape}, not {np.dtype(dtype)} {shape}")
