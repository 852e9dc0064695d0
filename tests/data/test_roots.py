"""The folder of a source that holds its splits, and the errors for sources without one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from greenedge.data.layouts import read_listing
from greenedge.data.tree import SourceTree
from tests.conftest import write_image
from tests.data.sources import refusal, write_class_folders


def images(root: Path, *folders: str, count: int = 2) -> Path:
    for folder in folders:
        for index in range(count):
            write_image(root / folder / f"{index}.png", seed=index)
    return root


def found(source: Path) -> dict[str, list[str]]:
    with SourceTree([source]) as tree:
        listing = read_listing(tree)
    return {
        split: sorted({listing.classes[record.label].id for record in records})
        for split, records in listing.splits.items()
    }


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training"])
@pytest.mark.parametrize("val", ["val", "Val", "valid", "validation"])
def test_find_root_accepts_common_names_of_splits(tmp_path: Path, train: str, val: str) -> None:
    source = images(tmp_path / "set", f"deep/{train}/a", f"deep/{train}/b", f"deep/{val}/a", f"deep/{val}/b")
    assert found(source) == {"train": ["a", "b"], "val": ["a", "b"]}


def test_find_root_refuses_two_folders_for_one_split(tmp_path: Path) -> None:
    source = images(tmp_path / "set", "train/a", "train/b", "val/a", "Validation/a")
    message = refusal(tmp_path, source)
    assert "Validation/" in message
    assert "val/" in message


def test_find_root_accepts_classes_called_like_splits(tmp_path: Path) -> None:
    source = images(tmp_path / "set", "train/train", "train/val", "train/bus", "val/train", "val/val")
    assert found(source) == {"train": ["bus", "train", "val"], "val": ["train", "val"]}


@pytest.mark.parametrize("third", ["train", "val", "sea/boat"])
def test_find_root_explains_the_layout_for_class_folders_without_splits(tmp_path: Path, third: str) -> None:
    source = images(tmp_path / "photos", "bus", "car", third)
    message = refusal(tmp_path, source)
    assert message.startswith(f"{source}: holds folders of images (")
    assert "bus/" in message
    assert "train/<class>/ and val/<class>/" in message


def test_find_root_names_the_folder_above_a_split(tmp_path: Path) -> None:
    source = write_class_folders(tmp_path / "pets")
    assert f"name the folder above it, {source}, instead" in refusal(tmp_path, source / "train")


def test_find_root_refuses_images_without_class_folders(tmp_path: Path) -> None:
    source = images(tmp_path / "set", "train", "val")
    assert "train/ holds images without a folder per class" in refusal(tmp_path, source)


def test_find_root_names_several_data_sets(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_class_folders(tmp_path / "sets" / name)
    message = refusal(tmp_path, tmp_path / "sets")
    assert str(tmp_path / "sets" / "first") in message
    assert str(tmp_path / "sets" / "second") in message


def test_read_listing_refuses_classes_one_level_too_deep(tmp_path: Path) -> None:
    source = write_class_folders(tmp_path / "pets")
    nested = tmp_path / "nested"
    shutil.copytree(source / "train", nested / "train" / "train")
    shutil.copytree(source / "val", nested / "val" / "train")
    message = refusal(tmp_path, nested)
    assert message.startswith(f"{nested}: train/train holds only folders (cat, dog)")


def test_read_listing_refuses_a_single_class(tmp_path: Path) -> None:
    source = images(tmp_path / "set", "train/only", "val/only")
    assert "has only one class, 'only'" in refusal(tmp_path, source)


@pytest.mark.parametrize(
    ("folder", "labels"),
    [
        ("images/train", "labels/train"),
        ("train/images", "train/labels"),
        ("images", "labels"),
        ("a/images/val/x", "a/labels/val/x"),
    ],
)
def test_find_root_refuses_data_sets_for_detection(tmp_path: Path, folder: str, labels: str) -> None:
    source = images(tmp_path / "set", folder)
    (source / labels).mkdir(parents=True)
    (source / labels / "0.txt").write_text("0 0.5 0.5 1 1")
    message = refusal(tmp_path, source)
    assert "YOLO" in message
    assert str(source) in message


def test_find_root_accepts_classes_called_images_and_labels(tmp_path: Path) -> None:
    source = images(tmp_path / "set", "train/images", "train/labels", "val/images", "val/labels")
    assert found(source) == {"train": ["images", "labels"], "val": ["images", "labels"]}


@pytest.mark.parametrize("inner", ["", "images"])
def test_read_listing_prefers_class_folders_to_leftover_annotations(official: Path, inner: str) -> None:
    lines = (official / "val" / "val_annotations.txt").read_text().splitlines()
    for name, wnid in (line.split("\t")[:2] for line in lines):
        folder = official / "val" / wnid / inner
        folder.mkdir(parents=True, exist_ok=True)
        (official / "val" / "images" / name).rename(folder / name)
    (official / "val" / "images").rmdir()
    (official / "val" / "val_annotations.txt").write_text("lines of another set\n")
    with SourceTree([official]) as tree:
        listing = read_listing(tree)
    wnid_of = dict(line.split("\t")[:2] for line in lines)
    assert len(listing.splits["val"]) == 15
    assert all(
        wnid_of[record.path.rpartition("/")[2]] == listing.classes[record.label].id for record in listing.splits["val"]
    )


def test_read_listing_refuses_validation_images_in_both_layouts(official: Path, tmp_path: Path) -> None:
    write_image(official / "val" / "n01" / "x.JPEG", seed=1)
    message = refusal(tmp_path, official)
    assert "val/n01/x.JPEG" in message
    assert "keep one of the two" in message


def test_read_listing_reads_texts_with_a_byte_order_mark(official: Path) -> None:
    for path in (official / "wnids.txt", official / "words.txt", official / "val" / "val_annotations.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    with SourceTree([official]) as tree:
        listing = read_listing(tree)
    assert [info.id for info in listing.classes] == ["n01", "n02", "n03"]
    assert listing.classes[0].name == "goldfish, Carassius auratus"
    assert len(listing.splits["val"]) == 15
