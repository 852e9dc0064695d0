"""Label maps of data sets, and maps that do not belong to a network's classes."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.data.label_files import check_labels_map, write_label_maps
from greenedge.data.label_maps import read_labels_map, read_reverse_map
from greenedge.data.label_spaces import class_labels, unchecked_labels
from greenedge.data.layouts import ClassInfo
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from greenedge.errors import DataError, UsageError
from tests.conftest import REPOSITORY, write_image

WNIDS = [f"n{i:08d}" for i in range(200)]


def classes(ids: Sequence[str], names: Sequence[str] | None = None) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(i, n) for i, n in zip(ids, names or ids, strict=True))


def reverse(path: Path, labels: Sequence[Any]) -> Path:
    path.write_bytes(pickle.dumps(dict(enumerate(labels))))
    return path


@pytest.fixture
def twelve(tmp_path: Path) -> Path:
    for name in range(12):
        write_image(tmp_path / "raw" / "train" / str(name) / "a.png", seed=name, size=(8, 8))
    prepare([tmp_path / "raw"], tmp_path / "prep", PrepareOptions(size=8))
    return tmp_path / "prep"


def test_a_map_built_from_a_data_set_is_that_data_sets(tmp_path: Path, twelve: Path) -> None:
    write_label_maps(twelve, tmp_path / "maps")
    check_labels_map(tmp_path / "maps" / "labels_map.pkl", twelve)
    own = open_prepared(twelve).classes
    back = read_reverse_map(tmp_path / "maps" / "deeplake_labels_map.pkl")
    assert list(back.values()) == [info.id for info in own]
    assert class_labels(own, tmp_path / "maps" / "deeplake_labels_map.pkl") == class_labels(own, None)


def test_a_text_file_is_read_without_its_mark_and_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    for number, (text, expected) in enumerate(
        [
            (b"\xef\xbb\xbfcat\r\ndog\nowl\n", ["cat", "dog", "owl"]),
            (b"10\n9\n-1\n0", [-1, 0, 9, 10]),
            (b"007\n10\n9", ["007", "10", "9"]),
            (b"1_0\n2", ["1_0", "2"]),
            ("٣\n٤".encode(), ["٣", "٤"]),
            (b"a\x0bb\nc", ["a\x0bb", "c"]),
            (b"9" * 5000 + b"\n1", ["1", "9" * 5000]),
        ]
    ):
        (tmp_path / "classes.txt").write_bytes(text)
        write_label_maps(tmp_path / "classes.txt", tmp_path / str(number))
        assert list(read_labels_map(tmp_path / str(number) / "labels_map.pkl")) == expected
    (tmp_path / "classes.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        write_label_maps(tmp_path / "classes.txt", tmp_path / "out")
    with pytest.raises(DataError, match="is not a file"):
        write_label_maps(Path("/dev/zero"), tmp_path / "out")


@pytest.mark.parametrize("left", [["labels_map.pkl"], ["deeplake_labels_map.pkl"], []])
def test_what_a_killed_command_left_is_completed(tmp_path: Path, left: list[str]) -> None:
    (tmp_path / "classes.txt").write_text("b\na\n")
    write_label_maps(tmp_path / "classes.txt", tmp_path / "maps")
    for path in (tmp_path / "maps").iterdir():
        if path.name not in left:
            path.unlink()
    written = write_label_maps(tmp_path / "classes.txt", tmp_path / "maps")
    assert {path.name: new for path, new in written.items()} == {
        name: name not in left for name in ("labels_map.pkl", "deeplake_labels_map.pkl")
    }
    assert read_labels_map(tmp_path / "maps" / "labels_map.pkl") == {"a": 0, "b": 1}
    assert read_reverse_map(tmp_path / "maps" / "deeplake_labels_map.pkl") == {0: "a", 1: "b"}


def test_another_map_stays_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("b\na\n")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "deeplake_labels_map.pkl").write_text("mine")
    with pytest.raises(UsageError, match="exists already with other content"):
        write_label_maps(tmp_path / "classes.txt", tmp_path / "maps")
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["deeplake_labels_map.pkl"]


@pytest.mark.parametrize(
    ("ids", "labels", "words"),
    [
        (
            ["0", "1", "10", "2"],
            [0, 1, 2, 10],
            "gives class 2 the label '2', which is that of class 3",
        ),
        (["cat", "dog"], ["dog", "cat"], "in another order: gives class 0 the label 'dog'"),
        (WNIDS[:3], WNIDS[2::-1], "in another order"),
        (WNIDS[:3], WNIDS[3:6], "is a map of other classes: it has 'n00000003' and the like"),
        (["cat", "dog"], WNIDS[:2], "is a map of other classes"),
        (["10", "11"], WNIDS[:2], "is a map of other classes"),
        (["cat", "dog"], ["car", "ship"], "is a map of other classes"),
        (["c000", "c001"], ["c002", "c003"], "is a map of other classes"),
        (["cat", "dog", "owl"], ["cat", "dog", "cow"], "2 of its 3 labels are the network's, and 'cow' is none"),
        (["0", "1", "2"], [1, 2, 3], "2 of its 3 labels are the network's, and '3' is none"),
        (["cat", "dog"], ["cat"], "has labels for 1 classes, the network has 2"),
        (["cat", "dog"], ["cat", "cat"], "gives the label 'cat' to two classes"),
        (["cat", "dog"], [1, "1"], "gives the label 1 to two classes"),
        (["cat", "dog"], [1, True], "has True in place of a label"),
        (["cat", "dog"], [1, float("nan")], "has nan in place of a label"),
        (["cat", "dog"], ["", "dog"], "has '' in place of a label"),
        (["cat", "dog"], ["\ud800", "dog"], "in place of a label"),
    ],
)
def test_a_map_of_other_classes_is_refused(tmp_path: Path, ids: list[str], labels: list[Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        class_labels(classes(ids), reverse(tmp_path / "map.pkl", labels))
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'map.pkl'}: ")


@pytest.mark.parametrize(
    ("infos", "labels", "noted"),
    [
        (classes(["cat", "dog"]), ["cat", "dog"], False),
        (classes(["0", "1"]), [0, 1], False),
        (classes(WNIDS[:2], ["goldfish", "frog"]), ["goldfish", "frog"], False),
        (classes(WNIDS[:2], ["goldfish", "frog"]), ["goldfish", "toad"], False),
        (classes(WNIDS[:2], ["crane", "crane"]), ["crane bird", "crane"], False),
        (classes(["cat", "dog"]), [10985, 3], True),
        (classes(["5", "7"]), [10985, 3], True),
        (classes(WNIDS[:2]), ["fish", "frog"], True),
    ],
)
def test_a_map_that_fits_or_cannot_be_compared_is_taken(
    tmp_path: Path, infos: tuple[ClassInfo, ...], labels: list[Any], noted: bool
) -> None:
    path = reverse(tmp_path / "map.pkl", labels)
    found = class_labels(infos, path)
    assert found == dict(enumerate(labels))
    assert (unchecked_labels(infos, path, found) is not None) == noted
    assert unchecked_labels(infos, None, class_labels(infos, None)) is None


def test_names_in_another_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gives class 0 the label 'frog', which is that of class 1"):
        class_labels(classes(WNIDS[:2], ["goldfish", "frog"]), reverse(tmp_path / "map.pkl", ["frog", "goldfish"]))


def test_the_repositorys_map_is_for_its_own_classes_alone() -> None:
    path = REPOSITORY / "deeplake_labels_map.pkl"
    own = list(map(str, read_reverse_map(path).values()))
    assert list(class_labels(classes(own), path).values()) == own
    for others in (WNIDS, [f"c{i}" for i in range(200)], sorted(map(str, range(200))), [*own[1:], own[0]]):
        with pytest.raises(DataError, match=r"other classes|another order"):
            class_labels(classes(others), path)


@given(st.permutations([f"k{i}" for i in range(4)]))
def test_only_the_own_order_is_taken(tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
    path = reverse(tmp_path_factory.mktemp("maps") / "map.pkl", labels)
    ids = [f"k{i}" for i in range(4)]
    try:
        assert list(class_labels(classes(ids), path).values()) == ids
        assert labels == ids
    except DataError:
        assert labels != ids


def test_numbers_kept_as_texts_index_pickled_numbers(tmp_path: Path) -> None:
    content = {"images": [np.full((8, 8, 3), i, np.uint8) for i in range(3)], "labels": [777, 3, 10985]}
    (tmp_path / "train.pkl").write_bytes(pickle.dumps(content))
    prepare([tmp_path / "train.pkl"], tmp_path / "a", PrepareOptions(size=8))
    write_label_maps(tmp_path / "a", tmp_path / "maps")
    options = PrepareOptions(size=8, labels_map=tmp_path / "maps" / "labels_map.pkl")
    prepare([tmp_path / "train.pkl"], tmp_path / "b", options)
    assert open_prepared(tmp_path / "b").split("train").labels.tolist() == [1, 0, 2]
