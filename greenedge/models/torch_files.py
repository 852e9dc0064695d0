"""Files of `torch.save`, read by greenedge's own pickle machine within the bounds of the file's size.

`torch.load(weights_only=True)` runs no code of a file, but it makes storages as large as the file says and decompresses
what a zip holds. Here the sizes of the members and storages are compared with the file before anything is made. Both
of torch's formats are read: zips (since 1.6) and the pickles before, in which torchvision still keeps its weights.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from greenedge.data.pickle_arrays import array_names
from greenedge.data.pickle_machine import Named, PickleError, PickleMachine, check_plain

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
_LEAVES = (Tensor, torch.dtype, np.ndarray, np.generic, np.dtype)
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


class _Storage:
    """Numbers that tensors are views of.

    Attributes:
        dtype: of its numbers.
        count: how many.
        content: their bytes, once they are read.
    """

    def __init__(self, dtype: torch.dtype, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.content = bytearray()

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * self.dtype.itemsize


class _View:
    """A tensor that is made once its storage is read."""

    def __init__(
        self, storage: _Storage, dtype: torch.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self.storage, self.dtype, self.offset, self.shape, self.strides = storage, dtype, offset, shape, strides

    def tensor(self) -> Tensor:
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=self.dtype)
        numbers = torch.frombuffer(
            self.storage.content, dtype=self.dtype, count=self.storage.size // self.dtype.itemsize
        )
        return numbers.as_strided(self.shape, self.strides, self.offset)


def read_torch_file(path: Path) -> Any:
    """What `torch.save` wrote: tensors on the CPU, plain values and arrays of numpy.

    Raises:
        PickleError: truncated, damaged, larger inside than outside, or naming anything else.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        try:
            return _read_zip(file, size) if zipped else _read_legacy(file, size)
        except PickleError:
            raise
        # What zipfile raises on damaged members, and torch on views that no storage has.
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, LookupError) as error:
            raise PickleError(f"is damaged ({type(error).__name__})") from None


def _read_zip(file: BinaryIO, size: int) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise PickleError("is damaged: torch compresses nothing")
        if sum(member.file_size for member in members.values()) > size or len(members) < len(archive.infolist()):
            raise PickleError("is damaged: it expands to more than its size")
        program = next((name for name in members if name.endswith("/data.pkl") and name.count("/") == 1), None)
        if program is None:
            raise PickleError("is no file of torch: it has no data.pkl")
        folder = program.removesuffix("data.pkl")
        if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
            raise PickleError("was written on a machine of another byte order")
        storages: dict[str, _Storage] = {}
        content = archive.read(program)
        value = _run(io.BytesIO(content), len(content), size, lambda each: _storage(each, storages))
        for key, storage in storages.items():
            member = members.get(f"{folder}data/{key}")
            if member is None or member.file_size < storage.size:
                raise PickleError("is damaged: a tensor has no numbers")
            storage.content = bytearray(member.file_size)
            with archive.open(member) as source:
                if source.readinto(storage.content) != member.file_size or source.read(1):  # type: ignore[attr-defined]
                    raise PickleError("is truncated")
    return _with_tensors(value)


def _read_legacy(file: BinaryIO, size: int) -> Any:
    """Five pickles (magic number, version, machine, value, keys of storages), then each storage's length and bytes."""
    storages: dict[str, _Storage] = {}
    parts: list[Any] = []
    while len(parts) < 5:
        machine = PickleMachine(file, size - file.tell(), _names(size), lambda each: _storage(each, storages))
        parts.append(machine.run())
        if parts[0] != _LEGACY_MAGIC:
            raise PickleError("is no file of torch")
    value, keys = parts[3], parts[4]
    check_plain(value, (*_LEAVES, _View), size)
    if not isinstance(parts[2], dict) or parts[2].get("little_endian") is not True:
        raise PickleError("was written on a machine of another byte order")
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise PickleError("is damaged: a tensor has no numbers")
    for key in keys:
        storage = storages[str(key)]
        count = struct.unpack("<q", file.read(8))[0]
        if count != storage.count or storage.size > size - file.tell():
            raise PickleError("is truncated")
        storage.content = bytearray(file.read(storage.size))
    return _with_tensors(value)


def _run(program: BinaryIO, length: int, size: int, storage: Callable[[Any], _Storage]) -> Any:
    value = PickleMachine(program, length, _names(size), storage).run()
    check_plain(value, (*_LEAVES, _View), size)
    return value


def _names(size: int) -> dict[tuple[str, str], Any]:
    """What stands for the names in a file of tensors; `size` of the whole file, in bytes."""
    left = [8 * size + 1_000_000]  # numbers that views may show: those with a stride of 0 show one number many times

    def view(storage: Any, offset: Any, shape: Any, strides: Any, dtype: torch.dtype | None = None) -> _View:
        numbers = (offset, *_whole(shape), *_whole(strides))
        if not isinstance(storage, _Storage) or type(offset) is not int or min(numbers) < 0:
            raise PickleError("is damaged: a tensor of nothing")
        dtype = dtype or storage.dtype
        if len(shape) != len(strides) or len(shape) > 32 or not isinstance(dtype, torch.dtype):
            raise PickleError("is damaged: a tensor without a shape")
        count = math.prod(shape)
        last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
        if count and (last + 1) * dtype.itemsize > storage.size:
            raise PickleError("is damaged: a tensor is larger than its numbers")
        left[0] -= count
        if left[0] < 0 or max(shape, default=0) >= 2**62:
            raise PickleError("is damaged: it expands to more than its size")
        return _View(storage, dtype, offset, shape, strides)

    def tensor_v2(given: tuple[Any, ...]) -> _View:
        storage, offset, shape, strides = given[:4]
        return view(storage, offset, shape, strides)

    def tensor_v3(given: tuple[Any, ...]) -> _View:
        storage, offset, shape, strides, _, _, dtype = given[:7]
        return view(storage, offset, shape, strides, dtype)

    def parameter(given: tuple[Any, ...]) -> Any:
        return given[0]

    def ordered(given: tuple[Any, ...]) -> Any:
        pairs = given[0] if given else []
        if not isinstance(pairs, list) or not all(type(p) in (list, tuple) and len(p) == 2 for p in pairs):
            raise PickleError("is damaged: a mapping without pairs")
        if not all(isinstance(key, str | int) for key, _ in pairs):
            raise PickleError("is damaged: a mapping without names")
        return OrderedDict(pairs)

    rebuild = "torch._utils"
    dtypes = {str(each).removeprefix("torch."): each for each in vars(torch).values() if isinstance(each, torch.dtype)}
    return {
        **array_names(size),
        **{
            (module, name): _StorageType(name, dtype)
            for name, dtype in _STORAGES.items()
            for module in _STORAGE_MODULES
        },
        **{("torch", name): dtype for name, dtype in dtypes.items()},
        (rebuild, "_rebuild_tensor"): Named("_rebuild_tensor", tensor_v2),
        (rebuild, "_rebuild_tensor_v2"): Named("_rebuild_tensor_v2", tensor_v2),
        (rebuild, "_rebuild_tensor_v3"): Named("_rebuild_tensor_v3", tensor_v3),
        (rebuild, "_rebuild_parameter"): Named("_rebuild_parameter", parameter),
        ("torch", "Size"): Named("torch.Size", lambda given: tuple(_whole(tuple(given[0])))),
        ("torch", "device"): Named("torch.device", lambda given: str(given[0])),
        ("collections", "OrderedDict"): Named("collections.OrderedDict", ordered),
    }


class _StorageType(Named):
    def __init__(self, name: str, dtype: torch.dtype) -> None:
        super().__init__(f"torch.{name}")
        self.dtype = dtype


def _storage(identifier: Any, storages: dict[str, _Storage]) -> _Storage:
    """The storage that a pickle names: ("storage", type, key, place, count), and in the old format a view, None."""
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise PickleError("is damaged: a tensor of nothing")
    kind, key, _, count = identifier[1:5]
    if identifier[5:] not in ((), (None,)) or not isinstance(kind, _StorageType) or type(count) is not int or count < 0:
        raise PickleError("is damaged: a tensor of nothing")
    storage = storages.setdefault(str(key), _Storage(kind.dtype, count))
    if (storage.dtype, storage.count) != (kind.dtype, count):
        raise PickleError("is damaged: a tensor of two types")
    return storage


def _whole(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, tuple) or not all(type(number) is int for number in numbers):
        raise PickleError("is damaged: a tensor without a shape")
    return numbers


def _with_tensors(value: Any) -> Any:
    """The value with a tensor for each view."""
    if isinstance(value, _View):
        return value.tensor()
    if isinstance(value, dict):
        return type(value)((name, _with_tensors(each)) for name, each in value.items())
    if isinstance(value, list):
        return [_with_tensors(each) for each in value]
    return tuple(map(_with_tensors, value)) if type(value) is tuple else value
