"""Builds numpy's arrays and numbers from pickles, with functions that check their arguments first.

numpy's own functions that rebuild pickled objects are never called, since they accept any type, pointers included, and
any shape. An array is a read-only view of the bytes in the pickle, so that it is never larger than its file.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from greenedge.data.pickle_machine import Budget, Named, Pending, PickleError

# bool, int, uint, float, complex, texts, objects
_KINDS = re.compile(r"[<>|=]?([biufcUSO])([0-9]{0,10})$")
_LAST_CHARACTER = 0x10FFFF
_MODULES = ("numpy.core", "numpy._core")


def array_names(size: int) -> dict[tuple[str, str], Named]:
    """Returns the table of names in pickles of arrays, of any protocol and version of numpy.

    Args:
        size: of the pickle in bytes.
    """
    budget = Budget(size)
    # The class is only passed as an argument and never called.
    array = Named("numpy.ndarray")

    def begin_array(arguments: tuple[Any, ...]) -> Pending:
        if len(arguments) != 3 or arguments[0] is not array:
            raise _damaged("an array of another class")
        return _Array(budget)

    def text_bytes(arguments: tuple[Any, ...]) -> bytes:
        """Decodes bytes as old protocols write them."""
        if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] != "latin1":
            raise _damaged("bytes in another encoding")
        budget.spend(len(arguments[0]))
        return arguments[0].encode("latin-1")

    def scalar(arguments: tuple[Any, ...]) -> Any:
        dtype, content = arguments
        budget.spend(len(content))
        return _view((), dtype, content, "C")[()]

    return {
        **{(f"{module}.multiarray", "_reconstruct"): Named("_reconstruct", begin_array) for module in _MODULES},
        **{(f"{module}.multiarray", "scalar"): Named("scalar", scalar) for module in _MODULES},
        **{(f"{module}.numeric", "_frombuffer"): Named("_frombuffer", _from_buffer) for module in _MODULES},
        ("numpy", "ndarray"): array,
        ("numpy", "dtype"): Named("numpy.dtype", _begin_dtype),
        ("_codecs", "encode"): Named("_codecs.encode", text_bytes),
        **{(module, "bytes"): Named(f"{module}.bytes", _no_bytes) for module in ("builtins", "__builtin__")},
    }


class _Array(Pending):
    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def build(self, state: Any) -> np.ndarray:
        """Builds an array from numpy's state: (version), shape, dtype, whether in Fortran order, bytes or objects."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise _damaged("an array without a shape")
        shape, dtype, fortran, content = state[-4:]
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            return self._objects(_shape(shape), content)
        return _view(shape, dtype, content, "F" if fortran else "C")

    def _objects(self, shape: tuple[int, ...], content: Any) -> np.ndarray:
        if type(content) is not list or len(content) != math.prod(shape):
            raise _damaged("an array of objects without their list")
        self._budget.spend(len(content))
        flat = np.empty(len(content), dtype=object)
        for index, each in enumerate(content):
            flat[index] = each
        # numpy lists objects in C order, whatever the array's own order.
        return flat.reshape(shape)


class _Dtype(Pending):
    def __init__(self, letters: str) -> None:
        self._letters = letters

    def build(self, state: Any) -> np.dtype[Any]:
        """Builds a type from numpy's state: version, byte order, and fields that only structured types have."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise _damaged("a number type without a byte order")
        if any(each is not None for each in state[2:5]):
            raise PickleError("names numpy.dtype with fields")
        dtype: np.dtype[Any] = np.dtype(state[1] + self._letters.lstrip("<>|="))
        return dtype


def _begin_dtype(arguments: tuple[Any, ...]) -> Pending:
    letters = arguments[0] if arguments else None
    found = _KINDS.match(letters) if isinstance(letters, str) else None
    if found is None:
        raise PickleError(f"names numpy.dtype {str(letters)[:40]!r}")
    # numpy's own limit is 2 GiB per item.
    if len(found[2]) > 9 or int(found[2] or 0) > 2**28:
        raise _damaged("items of too many bytes")
    return _Dtype(found[0])


def _from_buffer(arguments: tuple[Any, ...]) -> np.ndarray:
    """Builds an array of protocol 5: bytes, dtype, shape, order, and the order of the axes for `K`."""
    content, dtype, shape, order, *axes = arguments
    if order == "K" and axes and axes[0] is not None:
        return _view(shape, dtype, content, "C").transpose(_shape(axes[0]))
    return _view(shape, dtype, content, "F" if order == "F" else "C")


def _view(shape: Any, dtype: Any, content: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, np.dtype) or dtype.kind == "O":
        raise _damaged("an array of objects without their list")
    # Python 2 pickles bytes as text.
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(content, bytes):
        raise _damaged("an array that is not made of bytes")
    shape = _shape(shape)
    count = math.prod(shape)
    if count * dtype.itemsize != len(content) or (dtype.itemsize == 0 and count > 1_000_000):
        raise _damaged("an array whose bytes do not fill its shape")
    array = np.ndarray(shape, dtype, buffer=content, order=order)
    if dtype.kind == "U" and len(content):
        letters = np.frombuffer(content, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if letters.max() > _LAST_CHARACTER:
            raise _damaged("text with invalid characters")
    return array


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side < 2**63 for side in shape):
        raise _damaged("an array without a shape")
    return shape


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
    """Decodes empty bytes as old protocols write them."""
    if arguments:
        raise _damaged("bytes of another kind")
    return b""


def _damaged(what: str) -> PickleError:
    return PickleError(f"is damaged or not a pickle ({what})")
