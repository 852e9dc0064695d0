from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli


def test_maps_are_built_from_a_data_set_shown_and_fit_it(cli: Cli, prepared: Path, tmp_path: Path) -> None:
    result = cli("labels", "build", prepared, "--out", tmp_path)
    assert result.code == 0
    assert json.loads(cli("labels", "show", tmp_path / "labels_map.pkl", "--json").out) == {
        "n01": "0",
        "n02": "1",
        "n03": "2",
    }
    assert cli("labels", "show", tmp_path / "deeplake_labels_map.pkl").out.split() == [
        *("from", "to", "----", "---"),
        *("0", "n01", "1", "n02", "2", "n03"),
    ]
    checked = cli("labels", "check", tmp_path / "labels_map.pkl", "--data", prepared)
    assert (checked.code, checked.err.strip()) == (
        0,
        f"{tmp_path / 'labels_map.pkl'}: fits the 3 classes of {prepared}",
    )


def test_maps_of_deep_lakes_numbers_read_its_pickled_images(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("10985\n3\n777\n")
    assert cli("labels", "build", tmp_path / "classes.txt", "--out", tmp_path / "maps").code == 0
    labels = [np.array([label]) for label in (777, 10985, 3)]
    images = [np.full((64, 64, 3), index, dtype=np.uint8) for index in range(3)]
    (tmp_path / "train_dataset_raw.pkl").write_bytes(pickle.dumps({"images": images, "labels": labels}))
    labels_map = tmp_path / "maps" / "labels_map.pkl"
    out = tmp_path / "data"
    made = cli("data", "prepare", tmp_path / "train_dataset_raw.pkl", "--labels-map", labels_map, "--out", out)
    assert made.code == 0
    assert np.load(out / "train-labels.npy").tolist() == [1, 2, 0]
    assert cli("labels", "check", labels_map, "--data", out).code == 0


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"n01": 0, "n02": 1}, "lacks the label 'n03'"),
        ({"n01": 1, "n02": 0, "n03": 2}, "gives 'n01' the class 1, in"),
        ({"n01": 0, "n02": 1, "n03": 2, "n04": 3}, "has 4 labels, "),
        ({"n01": 0, "n02": 0, "n03": 2}, "gives the class index 0 to two labels, and 1 to none"),
        ({"n01": 0, "n02": 7, "n03": 2}, "has the class index 7, outside 0..2"),
    ],
)
def test_a_map_that_does_not_fit_is_one_sentence(
    cli: Cli, prepared: Path, tmp_path: Path, mapping: dict[str, int], words: str
) -> None:
    path = tmp_path / "map.pkl"
    path.write_bytes(pickle.dumps(mapping))
    result = cli("labels", "check", path, "--data", prepared)
    assert result.code == 1
    assert words in result.sentence


def test_maps_that_exist_are_not_overwritten(cli: Cli, prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "labels_map.pkl").write_text("mine")
    result = cli("labels", "build", prepared, "--out", tmp_path)
    assert (result.code, (tmp_path / "labels_map.pkl").read_text()) == (2, "mine")
    assert "exists already" in result.sentence


@pytest.mark.parametrize(
    ("text", "words"), [("", "the class list is empty"), ("a\nb\na\n", "'a' is in the class list twice")]
)
def test_class_lists_that_give_no_map_are_one_sentence(cli: Cli, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    result = cli("labels", "build", tmp_path / "classes.txt", "--out", tmp_path / "maps")
    assert result.code == 1
    assert words in result.sentence
    assert cli("labels", "build", tmp_path / "absent.txt", "--out", tmp_path / "maps").code == 1
