from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenedge.data.safe_pickle import read_pickle
from greenedge.errors import DataError
from tests.training.helpers import Trap

VALUES = {
    "numbers": [1, -2.5, True, None, 10**30],
    "texts": ("ä", b"bytes"),
    "images": [np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.zeros((3, 2), dtype=np.uint8)],
    "labels": [np.array([10985]), np.array([3], dtype=np.int32)],
    "scalar": np.float32(0.5),
    "whole": np.asfortranarray(np.ones((2, 3))),
}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_read_pickle_restores_plain_values_and_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(VALUES, protocol=protocol))
    assert equal(read_pickle(path), VALUES)


def test_read_pickle_restores_arrays_of_older_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    content = pickle.dumps(VALUES["images"], protocol=0)
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    assert equal(read_pickle(path), VALUES["images"])


def test_read_pickle_refuses_code_without_running_it(tmp_path: Path) -> None:
    path, marker = tmp_path / "a.pkl", tmp_path / "marker"
    path.write_bytes(pickle.dumps({"images": [Trap(marker)], "labels": [0]}))
    with pytest.raises(DataError, match=r"a\.pkl: names pathlib.*, and greenedge reads only plain values"):
        read_pickle(path)
    assert not marker.exists()


@pytest.mark.parametrize("value", [os.system, OrderedDict(a=1), {1, 2}, Path("a"), slice(1), print])
def test_read_pickle_refuses_anything_else_by_its_name(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(DataError, match=r"a\.pkl: names \w+\.\w+, and greenedge reads only"):
        read_pickle(path)


def test_read_pickle_refuses_damaged_pickles_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    whole = pickle.dumps(VALUES)
    for content in [b"", b"hello", b"\x80\x05", *(whole[:cut] for cut in range(1, len(whole) - 1, 7))]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.pkl: is damaged or not a pickle|a\.pkl: names"):
            read_pickle(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_pickle(tmp_path / "absent.pkl")


def test_read_pickle_raises_no_other_error_for_any_damaged_byte(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "a.pkl"
    whole = bytearray(pickle.dumps(VALUES))
    refused = 0
    for _ in range(300):
        damaged = whole.copy()
        damaged[random.integers(len(whole))] = random.integers(256)
        path.write_bytes(damaged)
        try:
            read_pickle(path)
        except DataError:
            refused += 1
    assert refused > 50
