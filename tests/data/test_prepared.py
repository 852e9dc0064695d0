from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenedge.data.layouts import ClassInfo
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from greenedge.errors import DataError
from tests.data.sources import assert_holds, is_one_sentence, read_official, write_class_folders


@pytest.fixture
def damaged(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the prepared data set, to be damaged."""
    return Path(shutil.copytree(prepared, tmp_path / "damaged"))


def complaint(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_prepared(folder)
    assert caught.value.exit_code == 1
    assert is_one_sentence(str(caught.value))
    return str(caught.value)


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_prepared_set_opens_with_its_images_labels_and_classes(prepared: Path) -> None:
    data = open_prepared(prepared)
    assert data.classes == (
        ClassInfo("n01", "goldfish, Carassius auratus"),
        ClassInfo("n02", "bullfrog"),
        ClassInfo("n03", "n03"),
    )
    assert_holds(prepared, read_official(prepared.parent / "source"))


def test_images_stay_on_disk_until_they_are_read(prepared: Path) -> None:
    for split in open_prepared(prepared).splits.values():
        assert isinstance(split.images, np.memmap)
        assert split.images.dtype == np.uint8


def test_writing_to_the_images_does_not_reach_the_disk(damaged: Path) -> None:
    before = (damaged / "val-images.npy").read_bytes()
    images = open_prepared(damaged).split("val").images
    images[:] = 0
    images.flush()
    assert (damaged / "val-images.npy").read_bytes() == before


def test_a_split_knows_its_length_and_rows(prepared: Path) -> None:
    data = open_prepared(prepared)
    assert len(data.split("train")) == 36
    assert data.split("val").rows.tolist() == list(range(15))


def test_a_split_that_was_not_prepared_is_named(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets")
    shutil.rmtree(root / "val")
    prepare([root], tmp_path / "out", PrepareOptions(size=8))
    data = open_prepared(tmp_path / "out")
    with pytest.raises(DataError, match="val") as caught:
        data.split("val")
    assert str(tmp_path / "out") in str(caught.value)


def test_a_missing_folder_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    message = complaint(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "greenedge data prepare" in message


def test_a_folder_of_plain_images_is_told_apart(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets")
    message = complaint(root)
    assert str(root) in message
    assert "manifest.json" in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"format": 1',
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": 1, "image_size": 64, "classes": [1], "splits": {}}',
        b'{"format": 1, "image_size": 64, "classes": [], "splits": []}',
        b'{"format": 1, "image_size": 64, "classes": [], "splits": {"train": {"images": "many"}}}',
    ],
)
def test_a_damaged_manifest_is_named(damaged: Path, content: bytes) -> None:
    (damaged / "manifest.json").write_bytes(content)
    assert str(damaged / "manifest.json") in complaint(damaged)


def test_another_format_is_refused_by_its_number(damaged: Path) -> None:
    edit_manifest(damaged, format=99)
    message = complaint(damaged)
    assert str(damaged) in message
    assert "99" in message


@pytest.mark.parametrize("name", ["train-images.npy", "train-labels.npy", "val-images.npy", "val-labels.npy"])
@pytest.mark.parametrize("kept_bytes", [0, 60, 130, -1])
def test_a_truncated_array_is_named(damaged: Path, name: str, kept_bytes: int) -> None:
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[:kept_bytes])
    with pytest.raises(DataError) as caught:
        open_prepared(damaged)
    assert str(caught.value).startswith(f"{damaged / name}: is damaged or cut short")
    assert caught.value.exit_code == 1


def test_a_missing_array_is_named(damaged: Path) -> None:
    (damaged / "val-labels.npy").unlink()
    assert str(damaged / "val-labels.npy") in complaint(damaged)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("val-images", np.zeros((14, 3, 64, 64), np.uint8)),
        ("val-images", np.zeros((15, 3, 64, 64), np.float32)),
        ("val-labels", np.zeros(14, np.int64)),
        ("val-labels", np.zeros(15, np.int32)),
        ("val-labels", np.full(15, 3)),
        ("val-labels", np.full(15, -1)),
        ("val-labels", np.array([{}] * 15)),
    ],
    ids=[
        "too few",
        "not uint8",
        "too few labels",
        "not int64",
        "label too large",
        "label negative",
        "pickled",
    ],
)
def test_an_array_that_does_not_fit_the_manifest_is_named(damaged: Path, name: str, array: np.ndarray) -> None:
    np.save(damaged / f"{name}.npy", array)
    assert str(damaged / f"{name}.npy") in complaint(damaged)


def test_a_manifest_that_promises_another_size_is_refused(damaged: Path) -> None:
    edit_manifest(damaged, image_size=32)
    assert str(damaged / "train-images.npy") in complaint(damaged)
