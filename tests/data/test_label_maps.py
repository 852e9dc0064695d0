from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.data.label_maps import build_label_maps, read_labels_map, read_reverse_map, write_label_map
from greenedge.errors import DataError
from tests.conftest import REPOSITORY
from tests.data.sources import is_one_sentence


def dump(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


def refusal(read: Any, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert is_one_sentence(str(caught.value))
    assert str(path) in str(caught.value)
    return str(caught.value)


@given(st.sets(st.integers(), min_size=1) | st.sets(st.text(), min_size=1))
def test_build_label_maps_are_inverse_and_follow_the_sorted_labels(labels: set[int] | set[str]) -> None:
    forward, back = build_label_maps(list(labels))
    assert [back[index] for index in range(len(labels))] == sorted(labels)
    assert all(forward[back[index]] == index for index in back)
    assert len(forward) == len(back) == len(labels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "the class list is empty"),
        ([3, 5, 3], "3 is in the class list twice"),
        ([1, "a"], "mixes numbers and texts"),
    ],
)
def test_build_label_maps_refuses_invalid_class_lists(labels: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        build_label_maps(labels)


@pytest.mark.parametrize("labels", [[10985, 3, 77], ["n02", "n01"]])
def test_write_label_map_reads_back_equal(tmp_path: Path, labels: list[Any]) -> None:
    forward, back = build_label_maps(labels)
    write_label_map(tmp_path / "a.pkl", forward)
    write_label_map(tmp_path / "b.pkl", back)
    assert read_labels_map(tmp_path / "a.pkl") == forward
    assert read_reverse_map(tmp_path / "b.pkl") == back


def test_read_labels_map_accepts_numbers_of_numpy(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.pkl", {np.int64(10985): np.int32(1), np.int64(7): np.array([0])})
    assert read_labels_map(path) == {10985: 1, 7: 0}


def test_label_maps_of_the_repository_are_inverse() -> None:
    forward = read_labels_map(REPOSITORY / "labels_map.pkl")
    back = read_reverse_map(REPOSITORY / "deeplake_labels_map.pkl")
    assert len(forward) == 200
    assert back == {index: label for label, index in forward.items()}
    assert list(back.values()) == sorted(forward)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "is not a label map"),
        ({}, "is not a label map"),
        ({5: 0, 6: 2}, "has the class index 2, outside 0..1 for its 2 labels"),
        ({5: 0, 6: -1}, "has the class index -1, outside"),
        ({5: 0, 6: 0}, "gives the class index 0 to two labels, and 1 to none"),
        ({5: "0"}, "has '0' in place of a class index"),
        ({5: 0.5}, "has 0.5 in place of a class index"),
        ({5: True}, "has True in place of a class index"),
        ({(1, 2): 0}, "has (1, 2) in place of a label"),
        ({None: 0}, "has None in place of a label"),
    ],
)
def test_read_labels_map_refuses_invalid_maps(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_labels_map(dump(tmp_path / "map.pkl", content))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({0: 5, 2: 6}, "has the class index 2, outside 0..1"),
        ({0: 5, 1: 5}, "gives the label 5 to two classes"),
        ({"a": 0}, "has 'a' in place of a class index"),
    ],
)
def test_read_reverse_map_refuses_invalid_maps(tmp_path: Path, content: Any, words: str) -> None:
    assert words in refusal(read_reverse_map, dump(tmp_path / "map.pkl", content))
