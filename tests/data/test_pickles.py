"""Data sets pickled like the paper's."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from greenedge.data.label_maps import write_label_map
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from tests.data.sources import refusal
from tests.training.helpers import Trap

DEEP_LAKE = [10985, 3, 10985, 777, 3, 777]


def images(count: int, size: int = 64, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def dump(path: Path, pixels: Any, labels: Any) -> Path:
    path.write_bytes(pickle.dumps({"images": pixels, "labels": labels}))
    return path


def arrays(labels: list[int]) -> list[np.ndarray]:
    return [np.array([label], dtype=np.int64) for label in labels]


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return dump(tmp_path / "train_dataset_raw.pkl", images(6), arrays(DEEP_LAKE))


@pytest.fixture
def val(tmp_path: Path) -> Path:
    return dump(tmp_path / "validation_dataset.pkl", images(2, seed=1), arrays([777, 3]))


def test_pickled_source_without_a_map_takes_the_sorted_labels_as_classes(
    train: Path, val: Path, tmp_path: Path
) -> None:
    manifest = prepare([train, val], tmp_path / "out")
    data = open_prepared(tmp_path / "out")
    assert [info.id for info in data.classes] == ["3", "777", "10985"]
    assert data.splits["train"].labels.tolist() == [2, 0, 2, 1, 0, 1]
    assert data.splits["val"].labels.tolist() == [1, 0]
    np.testing.assert_array_equal(data.splits["train"].images, np.stack(images(6)).transpose(0, 3, 1, 2))
    assert [source["kind"] for source in manifest["sources"]] == ["pickle", "pickle"]


def test_pickled_source_takes_indices_and_order_from_a_map(train: Path, tmp_path: Path) -> None:
    write_label_map(tmp_path / "labels_map.pkl", {10985: 0, 777: 1, 3: 2})
    prepare([train], tmp_path / "out", PrepareOptions(labels_map=tmp_path / "labels_map.pkl"))
    data = open_prepared(tmp_path / "out")
    assert [info.id for info in data.classes] == ["10985", "777", "3"]
    assert data.splits["train"].labels.tolist() == [0, 2, 0, 1, 2, 1]


def test_pickled_source_turns_grey_and_ragged_images_into_rgb_squares(tmp_path: Path) -> None:
    grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    wide = np.random.default_rng(2).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    path = dump(tmp_path / "train.pkl", [grey, grey[..., None], wide], [0, 1, 0])
    prepare([path], tmp_path / "out")
    found = open_prepared(tmp_path / "out").splits["train"].images
    np.testing.assert_array_equal(found[0], np.stack([grey] * 3))
    np.testing.assert_array_equal(found[1], found[0])
    scaled = Image.fromarray(wide).resize((96, 64), Image.Resampling.BICUBIC).crop((16, 0, 80, 64))
    np.testing.assert_array_equal(found[2], np.asarray(scaled).transpose(2, 0, 1))


def test_pickled_source_accepts_one_array_of_images_and_one_of_labels(tmp_path: Path) -> None:
    path = dump(tmp_path / "train.pkl", np.stack(images(4)), np.array([5, 6, 5, 6]))
    prepare([path], tmp_path / "out", PrepareOptions(per_class=1))
    assert open_prepared(tmp_path / "out").splits["train"].labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("pixels", "labels", "words"),
    [
        (images(2), [1], "has 2 images and 1 labels; the numbers must be equal"),
        ([], [], "has no images"),
        (5, [1], "its images are a int, not a list or an array"),
        (images(1), [1.5], "image 0 has the label 1.5, not one number or text"),
        (images(1), [np.array([1, 2])], "image 0 has the label array([1, 2]), not one number or text"),
        ([np.zeros((4, 4, 2), np.uint8)], [1], "image 0: is uint8 (4, 4, 2), not an image"),
        ([np.zeros((4, 4, 3))], [1], "image 0: is float64 (4, 4, 3), not an image"),
        ([np.zeros((0, 4, 3), np.uint8)], [1], "image 0: is uint8 (0, 4, 3), not an image"),
        (["no image"], [1], "not an image"),
        ([[[1, 2], [3]]], [1], "image 0: is not an image: expected an array"),
        ([[[1, [2]], {}]], [1], "image 0: is"),
        ([[10**30]], [1], "image 0: is object (1,), not an image"),
        ([None], [1], "image 0: is object (), not an image"),
        (np.zeros((3, 0, 0, 3), np.uint8), [1, 2, 3], "has no images"),
        (np.zeros((2**40, 0), np.uint8), np.zeros((2**40, 0), np.uint8), "has no images"),
        (np.array(3, np.uint8), [1], "its images are one number, not a list"),
        (images(1), [[[1], [1, 2]]], "image 0 has the label [[1], [1, 2]], not one number or text"),
        (images(1), [float("nan")], "image 0 has the label nan, not one number or text"),
        (images(1), [True], "image 0 has the label True, not one number or text"),
        (images(1), [np.array([True])], "image 0 has the label array([ True]), not one number or text"),
        (images(1), [""], "image 0 has the label '', not one number or text"),
        (images(1), ["\ud800"], "not one number or text"),
        (images(1), [list(range(10**5))], "image 0 has the label [0, 1, 2, 3, 4, 5, ...], not one number or text"),
        (images(2), [1, "1"], "mixes numbers and texts"),
    ],
)
def test_pickled_source_refuses_an_invalid_data_set(tmp_path: Path, pixels: Any, labels: Any, words: str) -> None:
    assert words in refusal(tmp_path, dump(tmp_path / "train.pkl", pixels, labels))


def test_pickled_source_names_a_label_that_the_map_lacks(train: Path, tmp_path: Path) -> None:
    write_label_map(tmp_path / "labels_map.pkl", {10985: 0, 3: 1})
    message = refusal(tmp_path, train, options=PrepareOptions(labels_map=tmp_path / "labels_map.pkl"))
    assert message == f"{train}: image 3 has the label 777, which is not in the label map {tmp_path / 'labels_map.pkl'}"


def test_pickled_source_names_a_validation_label_without_training_images(train: Path, tmp_path: Path) -> None:
    val = dump(tmp_path / "val.pkl", images(1), [4])
    assert refusal(tmp_path, train, val) == f"{val}: image 0 has the label 4, which is not among the training labels"


def test_open_source_refuses_sources_that_do_not_fit_together(train: Path, val: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "cannot be combined with folders or zip files" in refusal(tmp_path, train, tmp_path / "folder")
    assert "expected one pickle per split" in refusal(tmp_path, train, dump(tmp_path / "train-2.pkl", images(1), [3]))
    assert "expected one pickle per split" in refusal(tmp_path, dump(tmp_path / "images.pkl", images(1), [3]))
    options = PrepareOptions(labels_map=train)
    assert "a label map is for pickled data sets" in refusal(tmp_path, tmp_path / "folder", options=options)


def test_pickled_source_refuses_another_pickle_without_running_it(tmp_path: Path) -> None:
    path, marker = tmp_path / "train.pkl", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Trap(marker)))
    assert "greenedge reads only plain values and numpy arrays" in refusal(tmp_path, path)
    assert not marker.exists()
    path.write_bytes(pickle.dumps({"pictures": []}))
    assert "is not a pickled data set; expected a dict with 'images' and 'labels'" in refusal(tmp_path, path)
