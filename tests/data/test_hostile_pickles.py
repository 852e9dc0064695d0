"""Pickles made to run code, to crash or to exhaust memory and time, and those that numpy itself writes."""

from __future__ import annotations

import pickle
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenedge.data.label_maps import read_labels_map, read_reverse_map
from greenedge.data.safe_pickle import read_pickle
from greenedge.errors import DataError
from tests.data.sources import is_one_sentence

ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4)),
    np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(1, 2, 0),
    np.arange(10, dtype=np.int64)[::3],
    np.arange(5, dtype=">u4"),
    np.array([1.5, -0.0, np.nan, np.inf], dtype=">f8"),
    np.array([1 + 2j, -3j], dtype=np.complex64),
    np.array([True, False, True]),
    np.array(["ab", "", "\U0001f600"]),
    np.array(["ab", "c"], dtype=">U7"),
    np.array([b"ab", b""]),
    np.array(7, dtype=np.int8),
    np.zeros((0, 3), dtype=np.float16),
    np.zeros((3, 0, 2)),
    np.ones((1, 1), dtype=np.longdouble),
]


def same(a: Any, b: Any) -> bool:
    alike = a.dtype == b.dtype and a.dtype.byteorder == b.dtype.byteorder and a.shape == b.shape
    return alike and a.tobytes("C") == b.tobytes("C")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refusal(path: Path, content: bytes) -> str:
    """Returns the error sentence of a pickle, and checks that little time and memory were used."""
    write(path, content)
    tracemalloc.start()
    try:
        started = time.process_time()
        with pytest.raises(DataError) as caught:
            read_pickle(path)
        assert time.process_time() - started < 10
        assert tracemalloc.get_traced_memory()[1] < 200 * len(content) + 10_000_000
    finally:
        tracemalloc.stop()
    assert is_one_sentence(str(caught.value))
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_read_pickle_restores_arrays_bit_for_bit(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    path = write(tmp_path / "a.pkl", pickle.dumps([array, array], protocol=protocol))
    found = read_pickle(path)
    np.testing.assert_array_equal(found[0], pickle.loads(path.read_bytes())[0])
    assert same(found[0], array)
    assert found[0] is found[1]
    old = path.read_bytes().replace(b"cnumpy._core", b"cnumpy.core")
    assert same(read_pickle(write(path, old))[0], array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_read_pickle_restores_numbers_and_objects_of_numpy(tmp_path: Path, protocol: int) -> None:
    scalars = [np.float32(0.1), np.int64(-5), np.bool_(True), np.str_("äb"), np.complex128(1j), np.float64("nan")]
    objects = np.array([[{"a": 1}, None], ["b", [1, 2]]], dtype=object)
    path = write(tmp_path / "a.pkl", pickle.dumps((scalars, objects, objects.T, objects.dtype), protocol=protocol))
    found, square, turned, dtype = read_pickle(path)
    assert [(type(a), a.tobytes()) for a in found] == [(type(a), a.tobytes()) for a in scalars]
    assert square.tolist() == objects.tolist()
    assert turned.tolist() == objects.T.tolist()
    assert dtype == np.dtype(object)


def array_of(dtype: bytes, shape: tuple[int, ...], content: Any) -> bytes:
    """Builds a pickle of an array with any stated type and shape."""
    ints = b"".join(b"\x8a\x08" + struct.pack("<q", side) for side in shape)
    kept = pickle.dumps(content, protocol=4)[2:].removesuffix(b".")
    kept = kept[9:] if kept[:1] == pickle.FRAME else kept
    flags = b"K\x3f" if dtype[:1] == b"O" else b"K\x00"
    return (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
        b"(K\x01(" + ints + b"tcnumpy\ndtype\n(X" + struct.pack("<I", len(dtype)) + dtype + b"\x89\x88tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff" + flags + b"tb\x89" + kept + b"tb."
    )


def test_array_of_makes_arrays_that_can_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pkl", array_of(b"u1", (2, 3), b"abcdef"))
    assert read_pickle(path).tobytes() == b"abcdef"
    assert pickle.loads(path.read_bytes()).tobytes() == b"abcdef"


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(None)[:2] + b"cnumpy\nndarray\n(K\x01\x85U\x01OC\x08AAAAAAAAtR.",  # a pointer to anywhere
        array_of(b"O8", (1,), b"AAAAAAAA"),
        array_of(b"O8", (2,), [1]),
        array_of(b"u1", (10**12,), b"a"),
        array_of(b"u1", (3,), b"abcd"),  # more than the shape holds
        array_of(b"u1", (3,), b"ab"),
        array_of(b"u1", (2**62, 2**62), b""),
        array_of(b"u1", (-1,), b"a"),
        array_of(b"U1", (1,), b"\xff\xff\xff\xff"),
        array_of(b"S0", (10**12,), b""),
        array_of(b"V8", (1,), b"AAAAAAAA"),
        array_of(b"i4,O", (1,), b"AAAAAAAA"),
        array_of(b"M8[ns]", (1,), b"AAAAAAAA"),
        array_of(b"u1" + b"9" * 5000, (1,), b"A"),
        array_of(b"U999999999", (0,), b""),
        b"\x80\x04\x8b\xff\xff\xff\x7f.",  # lengths beyond the file
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",
        b"\x80\x04N\x72\xff\xff\xff\xff\x6a\xfe\xff\xff\xff.",
        b"\x80\x04\x8b" + struct.pack("<I", 10**6) + b"\x01" * 10**6 + b".",  # a number of millions of digits
        b"L" + b"9" * 5000 + b"L\n.",
        b"\x80\x04" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",  # nested
        b"\x80\x04" + b"(" * 10**5 + b"t" * 10**5 + b".",
        b"\x80\x04)" + b"\x85" * 10**5 + b".",
        b"\x80\x04})" + b"\x85" * 10**5 + b"Ns.",  # as a key, whose hashing would crash the process
        b"\x80\x04]\x94h\x00a.",  # contains itself
        b"\x80\x04]" + b"".join(b"\x94h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60)) + b".",
        b"\x80\x04}]" + b"".join(b"\x94h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60)) + b"Ns.",
        b"\x80\x04X"
        + struct.pack("<I", 10**5)
        + b"a" * 10**5
        + b"\x94c_codecs\nencode\n\x94X\x06\x00\x00\x00latin1\x94"
        b"000](" + b"h\x01h\x00h\x02\x86R" * 10**4 + b"e.",  # one text encoded many times
        b"cnumpy\nndarray\n.",
        b"Pelsewhere\n.",
        b"\x80\x02K\x01Q.",
        b"(ios\nsystem\n.",
    ],
)
def test_read_pickle_refuses_at_once_what_would_run_crash_or_never_end(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path / "a.pkl", content).startswith(f"{tmp_path / 'a.pkl'}: ")


def test_read_pickle_refuses_folders_and_devices(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a file"):
        read_pickle(tmp_path)
    with pytest.raises(DataError, match="is not a file"):
        read_pickle(Path("/dev/zero"))


@pytest.mark.parametrize("read", [read_pickle, read_labels_map, read_reverse_map])
def test_read_pickle_of_any_mutation_raises_at_most_one_sentence(tmp_path: Path, read: Any) -> None:
    random = np.random.default_rng(5)
    path = tmp_path / "a.pkl"
    seeds = [pickle.dumps({"images": ARRAYS[:9], "labels": [np.int64(3)] * 3}, p) for p in range(6)]
    if read is not read_pickle:
        seeds = [pickle.dumps({f"n{i}": i for i in range(5)}, p) for p in range(6)]
        seeds += [pickle.dumps({i: f"n{i}" for i in range(5)}, p) for p in range(6)]
    refused = 0
    for _ in range(300):
        content = bytearray(seeds[random.integers(len(seeds))])
        for _ in range(random.integers(1, 6)):
            place = random.integers(len(content))
            kind = random.integers(4)
            if kind == 0:
                content[place] = random.integers(256)
            elif kind == 1:
                content[place : place + random.integers(1, 9)] = b"\xff" * random.integers(1, 9)
            elif kind == 2:
                content[place:place] = content[random.integers(len(content)) :][:20]
            else:
                del content[place : place + random.integers(1, 9)]
        try:
            read(write(path, bytes(content)))
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
    assert refused > 100


def test_read_pickle_refuses_a_value_that_expands_too_far(tmp_path: Path) -> None:
    """Each list holds the previous list ten times, which is stored once: 10^12 numbers when written out."""
    value: list[Any] = [0]
    for _ in range(12):
        value = [value] * 10
    assert "expands to more than its size" in refusal(tmp_path / "a.pkl", pickle.dumps(value))
