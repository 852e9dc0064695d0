from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenedge.data.arrays import map_array
from greenedge.data.layouts import ClassInfo
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import check_images, image_paths, open_prepared
from greenedge.data.splits import split_digest
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
    """Changes the manifest and removes its digest."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text()) | changes
    content.pop("digest", None)
    path.write_text(json.dumps(content))


def as_format_1(folder: Path) -> Path:
    """Removes what the first format did not have."""
    content = json.loads((folder / "manifest.json").read_text())
    splits = {name: {"images": split["images"]} for name, split in content["splits"].items()}
    content.pop("skipped", None)
    edit_manifest(folder, format=1, splits=splits)
    for path in [*folder.glob("*-digests.npy"), *folder.glob("*-paths.json")]:
        path.unlink()
    return folder


def test_open_prepared_reads_images_labels_and_classes(prepared: Path) -> None:
    data = open_prepared(prepared)
    assert data.classes == (
        ClassInfo("n01", "goldfish, Carassius auratus"),
        ClassInfo("n02", "bullfrog"),
        ClassInfo("n03", "n03"),
    )
    assert_holds(prepared, read_official(prepared.parent / "source"))


def test_open_prepared_keeps_images_on_disk_until_they_are_read(prepared: Path) -> None:
    for split in open_prepared(prepared).splits.values():
        assert isinstance(split.images, np.memmap)
        assert split.images.dtype == np.uint8


def test_open_prepared_gives_read_only_images(prepared: Path) -> None:
    images = open_prepared(prepared).split("val").images
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_open_prepared_opens_a_set_larger_than_memory_and_swap(damaged: Path) -> None:
    count = 3_000_000_000_000 // (3 * 64 * 64)
    with (damaged / "val-images.npy").open("wb") as file:  # a sparse file of 3 TB
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (count, 3, 64, 64)}
        )
        try:
            file.truncate(file.tell() + count * 3 * 64 * 64)
        except OSError:
            pytest.skip("the file system has no files that large")
    images = map_array(damaged / "val-images.npy", np.uint8, (count, 3, 64, 64))
    assert not images[-1].any()


@pytest.mark.parametrize("what", ["labels", "digests", "images"])
def test_open_prepared_notices_a_byte_changed_in_place(damaged: Path, what: str) -> None:
    path = damaged / f"val-{what}.npy"
    content = bytearray(path.read_bytes())
    content[-16] ^= 1  # of the labels: the last but one becomes another class
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        check_images(damaged)


def test_prepared_split_read_notices_changed_pixels(damaged: Path) -> None:
    path = damaged / "val-images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 128
    path.write_bytes(content)
    split = open_prepared(damaged).split("val")
    split.read(np.arange(14))
    with pytest.raises(DataError, match=r"image 14 of its val images is damaged") as caught:
        split.read(np.array([3, 14]))
    assert str(damaged) in str(caught.value)
    assert split.read(np.array([14]), check=False).shape == (1, 3, 64, 64)


def test_image_digests_are_those_of_pixels_and_files(prepared: Path) -> None:
    split = open_prepared(prepared).split("val")
    paths = image_paths(split)
    assert split.digests is not None
    assert paths is not None
    assert len(paths) == len(set(paths)) == 15
    for row, path in enumerate(paths):
        file = (prepared.parent / "source" / path).read_bytes()
        assert split.digests.sources[row].tobytes() == hashlib.sha256(file).digest()[:16]
        assert split.digests.pixels[row].tobytes() == hashlib.sha256(split.images[row].tobytes()).digest()[:16]


def test_image_paths_notices_changed_paths(damaged: Path) -> None:
    path = damaged / "val-paths.json"
    path.write_bytes(path.read_bytes().replace(b"val_3.", b"val_4."))
    with pytest.raises(DataError, match=r"val-paths\.json: is damaged"):
        image_paths(open_prepared(damaged).split("val"))


def test_read_manifest_refuses_one_changed_in_place(damaged: Path) -> None:
    path = damaged / "manifest.json"
    path.write_text(path.read_text().replace("bullfrog", "bulldogs"))
    assert "was changed after it was written" in complaint(damaged)


@pytest.mark.parametrize(
    "classes",
    [["a", "b", "c"], [{"id": True, "name": "x"}], [{"id": "a", "name": None}], [{"id": "a", "name": "a"}] * 3, []],
)
def test_read_manifest_refuses_invalid_classes(damaged: Path, classes: list[Any]) -> None:
    edit_manifest(damaged, classes=classes)
    assert "manifest.json" in complaint(damaged)


def test_open_prepared_reads_the_first_format_and_names_it_by_its_pixels(damaged: Path, prepared: Path) -> None:
    former = as_format_1(damaged)
    split, same = open_prepared(former).split("val"), open_prepared(prepared).split("val")
    assert split.digests is None
    assert image_paths(split) is None
    assert split_digest(split) == split_digest(same)
    assert check_images(former) == {"train": 0, "val": 0}


def test_prepared_split_has_its_length_and_rows(prepared: Path) -> None:
    data = open_prepared(prepared)
    assert len(data.split("train")) == 36
    assert data.split("val").rows.tolist() == list(range(15))


def test_prepared_data_names_a_split_that_was_not_prepared(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets")
    shutil.rmtree(root / "val")
    prepare([root], tmp_path / "out", PrepareOptions(size=8))
    data = open_prepared(tmp_path / "out")
    with pytest.raises(DataError, match="val") as caught:
        data.split("val")
    assert str(tmp_path / "out") in str(caught.value)


def test_open_prepared_names_a_missing_folder_and_the_command_to_make_one(tmp_path: Path) -> None:
    message = complaint(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "greenedge data prepare" in message


def test_open_prepared_recognises_a_folder_of_plain_images(tmp_path: Path) -> None:
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
def test_read_manifest_names_a_damaged_manifest(damaged: Path, content: bytes) -> None:
    (damaged / "manifest.json").write_bytes(content)
    assert str(damaged / "manifest.json") in complaint(damaged)


def test_read_manifest_refuses_another_format_by_its_number(damaged: Path) -> None:
    edit_manifest(damaged, format=99)
    message = complaint(damaged)
    assert str(damaged) in message
    assert "99" in message


@pytest.mark.parametrize("name", ["train-images.npy", "train-labels.npy", "val-images.npy", "val-labels.npy"])
@pytest.mark.parametrize("kept_bytes", [0, 60, 130, -1])
def test_open_prepared_names_a_truncated_array(damaged: Path, name: str, kept_bytes: int) -> None:
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[:kept_bytes])
    with pytest.raises(DataError) as caught:
        open_prepared(damaged)
    assert str(caught.value).startswith(f"{damaged / name}: is damaged or truncated")
    assert caught.value.exit_code == 1


def test_open_prepared_names_a_missing_array(damaged: Path) -> None:
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
def test_open_prepared_names_an_array_that_does_not_fit_the_manifest(
    damaged: Path, name: str, array: np.ndarray
) -> None:
    np.save(damaged / f"{name}.npy", array)
    assert str(damaged / f"{name}.npy") in complaint(damaged)


def test_open_prepared_refuses_a_manifest_of_another_size(damaged: Path) -> None:
    edit_manifest(damaged, image_size=32)
    assert str(damaged / "train-images.npy") in complaint(damaged)
