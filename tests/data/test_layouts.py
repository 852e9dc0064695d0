from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.layouts import ClassInfo, read_listing
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.tree import SourceTree
from tests.conftest import write_image
from tests.data.sources import assert_holds, pixels, read_official, refusal, write_class_folders, zip_folder


def edit_annotations(root: Path, old: str, new: str) -> Path:
    path = root / "val" / "val_annotations.txt"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return path


def test_read_listing_sorts_classes_by_wnid_and_names_them_by_words(official: Path) -> None:
    with SourceTree([official]) as tree:
        classes = read_listing(tree).classes
    assert classes == (
        ClassInfo("n01", "goldfish, Carassius auratus"),
        ClassInfo("n02", "bullfrog"),
        ClassInfo("n03", "n03"),
    )


def test_read_listing_takes_validation_labels_from_the_annotations(official: Path, tmp_path: Path) -> None:
    wnids = np.random.default_rng(3).permutation(["n01", "n02", "n03"] * 5)
    lines = [f"val_{n}.JPEG\t{wnid}\t0\t0\t63\t63\n" for n, wnid in enumerate(wnids)]
    (official / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    prepare([official], tmp_path / "out")
    expected = read_official(official)
    assert expected["val"][1] != sorted(expected["val"][1])
    assert_holds(tmp_path / "out", expected)


def test_read_listing_accepts_windows_line_ends_and_blank_lines(official: Path, tmp_path: Path) -> None:
    expected = read_official(official)
    for path in (official / "wnids.txt", official / "val" / "val_annotations.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    prepare([official], tmp_path / "out")
    assert_holds(tmp_path / "out", expected)


def test_read_listing_accepts_an_official_source_without_validation_images(official: Path, tmp_path: Path) -> None:
    expected = read_official(official)
    shutil.rmtree(official / "val")
    prepare([official], tmp_path / "out")
    assert_holds(tmp_path / "out", {"train": expected["train"]})


@pytest.mark.parametrize("zipped", [False, True])
def test_read_listing_reads_a_class_per_folder_source(tmp_path: Path, zipped: bool) -> None:
    root = write_class_folders(tmp_path / "pets")
    prepare([zip_folder(root, tmp_path / "pets.zip") if zipped else root], tmp_path / "out")
    expected = {
        split: (
            np.stack([pixels(root / split / name / f"{n}.png") for name in ("cat", "dog") for n in range(count)]),
            [0] * count + [1] * count,
        )
        for split, count in (("train", 3), ("val", 2))
    }
    assert_holds(tmp_path / "out", expected)


def test_listing_subset_keeps_the_first_classes_and_the_first_images_of_each(official: Path, tmp_path: Path) -> None:
    whole = read_official(official)
    train = [n for label in range(2) for n in [i for i, at in enumerate(whole["train"][1]) if at == label][:4]]
    val = [n for n, label in enumerate(whole["val"][1]) if label < 2]
    prepare([official], tmp_path / "out", PrepareOptions(classes=2, per_class=4))
    expected = {
        split: (whole[split][0][rows], [whole[split][1][n] for n in rows])
        for split, rows in (("train", train), ("val", val))
    }
    assert_holds(tmp_path / "out", expected)


@pytest.mark.parametrize("options", [PrepareOptions(classes=4), PrepareOptions(per_class=13)])
def test_listing_subset_refuses_more_than_the_source_holds(
    official: Path, tmp_path: Path, options: PrepareOptions
) -> None:
    message = refusal(tmp_path, official, options=options)
    asked, found = (4, 3) if options.classes else (13, 12)
    assert str(asked) in message
    assert str(found) in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("val_3.JPEG\t", "val_333.JPEG\t", "'val_333.JPEG'"),
        ("val_3.JPEG\tn01", "val_3.JPEG\tn77", "'n77'"),
        ("val_3.JPEG\tn01\t0\t0\t63\t63", "val_3.JPEG n01", "'val_3.JPEG n01'"),
        ("val_3.JPEG\t", "val_2.JPEG\tn02\nval_3.JPEG\t", "'val_2.JPEG'"),
    ],
    ids=["unknown file", "unknown class", "too few fields", "two classes for one image"],
)
def test_read_listing_refuses_annotations_that_do_not_fit_with_their_line(
    official: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = edit_annotations(official, old, new)
    message = refusal(tmp_path, official)
    assert f"{path}:4:" in message
    assert words in message


def test_read_listing_names_an_image_without_an_annotation(official: Path, tmp_path: Path) -> None:
    edit_annotations(official, "val_9.JPEG\tn02\t0\t0\t63\t63\n", "")
    assert str(official / "val" / "images" / "val_9.JPEG") in refusal(tmp_path, official)


def test_read_listing_refuses_validation_images_without_annotations(official: Path, tmp_path: Path) -> None:
    (official / "val" / "val_annotations.txt").unlink()
    message = refusal(tmp_path, official)
    assert str(official) in message
    assert "val_annotations.txt" in message


def test_read_listing_names_an_official_class_without_images(official: Path, tmp_path: Path) -> None:
    shutil.rmtree(official / "train" / "n02" / "images")
    message = refusal(tmp_path, official)
    assert str(official) in message
    assert "'n02'" in message


def test_read_listing_names_an_official_class_that_wnids_lacks(official: Path, tmp_path: Path) -> None:
    write_image(official / "train" / "n55" / "images" / "n55_0.JPEG", seed=0)
    message = refusal(tmp_path, official)
    assert str(official) in message
    assert "train/n55" in message
    assert "wnids.txt" in message


def test_read_listing_names_an_empty_class_folder(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets")
    (root / "train" / "hamster").mkdir()
    message = refusal(tmp_path, root)
    assert str(root) in message
    assert "'hamster'" in message


def test_read_listing_refuses_a_class_that_is_only_in_validation(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets")
    write_image(root / "val" / "hamster" / "0.png", seed=0)
    message = refusal(tmp_path, root)
    assert str(root / "val" / "hamster" / "0.png") in message
    assert "'hamster'" in message


@pytest.mark.parametrize("split", ["train", "val"])
def test_read_listing_names_an_image_outside_class_folders(tmp_path: Path, split: str) -> None:
    root = write_class_folders(tmp_path / "pets")
    write_image(root / split / "loose.png", seed=0)
    assert str(root / split / "loose.png") in refusal(tmp_path, root)


def test_read_listing_names_a_source_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty" / "train").mkdir(parents=True)
    assert str(tmp_path / "empty") in refusal(tmp_path, tmp_path / "empty")


def test_read_listing_misses_a_validation_image_renamed_to_txt(official: Path, tmp_path: Path) -> None:
    (official / "val" / "images" / "val_2.JPEG").rename(official / "val" / "images" / "val_2.txt")
    assert "names 'val_2.JPEG', which is not among the images" in refusal(tmp_path, official)


def test_read_listing_counts_a_training_image_renamed_to_txt(official: Path) -> None:
    (official / "train" / "n01" / "images" / "n01_2.JPEG").rename(official / "train" / "n01" / "images" / "n01_2.txt")
    with SourceTree([official]) as tree:
        listing = read_listing(tree)
    assert len(listing.splits["train"]) == 35
    assert listing.unused == {".txt": 1}
