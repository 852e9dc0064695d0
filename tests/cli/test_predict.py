from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.conftest import CLASSES, VAL_PER_CLASS, write_image, write_official_layout


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The validation images that `prepared` was made of, in its order."""
    root = write_official_layout(tmp_path_factory.mktemp("official"))
    return sorted((root / "val" / "images").iterdir())


@pytest.mark.parametrize("threshold", ["0", "1.05", "9"])
def test_files_get_the_answers_that_eval_gives_the_same_images(
    cli: Cli, weights: Path, pictures: list[Path], threshold: str
) -> None:
    evaluated = cli("eval", "--weights", weights, "--threshold", threshold, "--json")
    with (weights.parent / "predictions-val.csv").open() as file:
        rows = list(csv.DictReader(file))
    result = json.loads(cli("predict", "--weights", weights, "--threshold", threshold, "--json", *pictures).out)
    assert [each["label"] for each in result["predictions"]] == [row["prediction"] for row in rows]
    assert [str(each["exit"]) for each in result["predictions"]] == [row["exit"] for row in rows]
    assert result["gflops"] == pytest.approx(json.loads(evaluated.out)["gflops"])
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert right / len(rows) == pytest.approx(json.loads(evaluated.out)["accuracy"])


def test_answers_come_in_the_labels_of_a_map(cli: Cli, weights: Path, pictures: list[Path], tmp_path: Path) -> None:
    deep_lake = tmp_path / "deeplake_labels_map.pkl"
    deep_lake.write_bytes(pickle.dumps({0: 10985, 1: 7, 2: 451}))
    plain = json.loads(cli("predict", "--weights", weights, "--json", *pictures).out)["predictions"]
    mapped = json.loads(cli("predict", "--weights", weights, "--labels-map", deep_lake, "--json", *pictures).out)
    to_deep_lake = dict(zip(CLASSES, (10985, 7, 451), strict=True))
    assert [each["label"] for each in mapped["predictions"]] == [to_deep_lake[each["label"]] for each in plain]

    assert cli("eval", "--weights", weights, "--labels-map", deep_lake).code == 0
    with (weights.parent / "predictions-val.csv").open() as file:
        rows = list(csv.DictReader(file))
    numbers = [int(path.stem.removeprefix("val_")) for path in pictures]
    true = [CLASSES[number // VAL_PER_CLASS] for number in numbers]
    assert [row["label"] for row in rows] == [str(to_deep_lake[wnid]) for wnid in true]
    assert [row["prediction"] for row in rows] == [str(each["label"]) for each in mapped["predictions"]]


def test_the_table_names_image_label_name_and_exit(cli: Cli, weights: Path, pictures: list[Path]) -> None:
    result = cli("predict", "--weights", weights, "--threshold", "9", pictures[0])
    assert result.code == 0
    assert "left at" in result.out
    assert "exit 1" in result.out
    assert pictures[0].name in result.out


def test_an_image_of_another_size_and_kind_is_fitted(cli: Cli, weights: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "grey.png", 1, size=(90, 50), mode="L")
    assert cli("predict", "--weights", weights, tmp_path / "grey.png").code == 0


def test_bad_input_is_one_sentence(cli: Cli, weights: Path, pictures: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    wrong_map = tmp_path / "map.pkl"
    wrong_map.write_bytes(pickle.dumps({0: 1, 1: 2}))
    missing = tmp_path / "missing.jpg"
    for arguments, code, sentence in [
        ([missing], 1, f"{missing}: no such image"),
        ([broken], 1, f"{broken}: is not an image, whatever its name says; replace or remove it"),
        (
            [pictures[0], "--labels-map", wrong_map],
            1,
            f"{wrong_map}: has labels for 2 classes, the network has 3",
        ),
        ([pictures[0], "--threshold", "x"], 2, "threshold 'x' is not a number"),
    ]:
        result = cli("predict", "--weights", weights, *arguments)
        assert (result.code, result.sentence) == (code, sentence)
        assert result.out == ""
