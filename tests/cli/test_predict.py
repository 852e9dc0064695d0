from __future__ import annotations

import csv
import io
import json
import pickle
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.conftest import CLASSES, VAL_PER_CLASS, write_image, write_official_layout


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The validation images that `prepared` was made of, in its order."""
    root = write_official_layout(tmp_path_factory.mktemp("official"))
    return sorted((root / "val" / "images").iterdir())


@pytest.mark.parametrize("threshold", ["0", "1.05", "9", "1.05,9", "0,1.05"])
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
    for key in ("criterion", "thresholds", "temperatures"):
        assert result[key] == json.loads(evaluated.out)[key]
    spent = [each["gflops"] for each in json.loads(evaluated.out)["exits"]]
    assert [each["gflops"] for each in result["predictions"]] == [spent[int(row["exit"]) - 1] for row in rows]


@pytest.mark.parametrize(
    "options",
    [
        ["--budget", "0.025", "--no-temperatures"],
        ["--budget", "0.03", "--criterion", "margin"],
        ["--min-accuracy", "0.3", "--shared", "--criterion", "max_probability", "--no-temperatures"],
    ],
)
def test_a_tuned_policy_sends_files_where_eval_sends_the_same_images(
    cli: Cli, weights: Path, pictures: list[Path], options: list[str]
) -> None:
    assert cli("tune", "--weights", weights, *options).code == 0
    policy = weights.parent / "policy.json"
    evaluated = json.loads(cli("eval", "--weights", weights, "--policy", policy, "--json").out)
    with (weights.parent / "predictions-val.csv").open() as file:
        rows = list(csv.DictReader(file))
    result = json.loads(cli("predict", "--weights", weights, "--policy", policy, "--json", *pictures).out)
    assert [str(each["exit"]) for each in result["predictions"]] == [row["exit"] for row in rows]
    assert [each["label"] for each in result["predictions"]] == [row["prediction"] for row in rows]
    assert result["gflops"] == pytest.approx(evaluated["gflops"])
    for key in ("criterion", "thresholds", "temperatures"):
        assert result[key] == json.loads(policy.read_text())[key] == evaluated[key]


def test_images_that_thresholds_were_chosen_on_leave_where_tuning_sent_them(
    cli: Cli, weights: Path, pictures: list[Path]
) -> None:
    options = ["--budget", "0.03", "--choose-on", "val", "--criterion", "margin", "--no-temperatures"]
    tuned = json.loads(cli("tune", "--weights", weights, "--json", *options).out)
    arguments = ["--weights", weights, "--policy", weights.parent / "policy.json", "--json"]
    predicted = json.loads(cli("predict", *arguments, *pictures).out)["predictions"]
    exits = [each["exit"] for each in predicted]
    assert [exits.count(e) / 15 for e in (1, 2, 3)] == tuned["policies"]["per-exit"]["val"]["exit_shares"]


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
    head = result.out[: result.out.index("---")].split()  # in several lines, where a path is long
    assert {"image", "label", "name", "probability", "exit", "entropy", "(nats)", "GFLOPs"} <= set(head)
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
        ([broken], 1, f"{broken}: is not an image, despite its name; replace or remove it"),
        (
            [pictures[0], "--labels-map", wrong_map],
            1,
            f"{wrong_map}: has labels for 2 classes, the network has 3",
        ),
        ([pictures[0], "--threshold", "x"], 2, "threshold 'x' is not a number"),
        ([pictures[0], "--threshold", ""], 2, "no threshold was given; give numbers such as 0,0.63,1.26"),
        (
            [pictures[0], "--thresholds", "1,2,3"],
            2,
            "3 thresholds were given; the network has 2 early exits, so give one for all, or one for each",
        ),
        (
            [pictures[0], "--policy", tmp_path / "no.json"],
            2,
            f"{tmp_path / 'no.json'}: no such policy; `greenedge tune` writes one",
        ),
        (
            [pictures[0], "--policy", tmp_path / "no.json", "--threshold", "1"],
            2,
            "--policy says criterion and thresholds itself; leave out --threshold(s) and --criterion",
        ),
    ]:
        result = cli("predict", "--weights", weights, *arguments)
        assert (result.code, result.sentence) == (code, sentence)
        assert result.out == ""


def test_a_folder_a_pattern_and_a_list_are_predicted_as_their_files(
    cli: Cli, weights: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("predict", "--weights", weights, "--threshold", "1.05", "--json", "--batch-size", "4")
    expected = json.loads(cli(*arguments, *pictures).out)
    folder = pictures[0].parent
    assert json.loads(cli(*arguments, folder).out) == expected
    assert json.loads(cli(*arguments, f"{folder}/val_*.JPEG").out) == expected
    listed = "".join(f"{path}\n" for path in pictures).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert json.loads(cli(*arguments, "-").out) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert cli(*arguments, "-").sentence == "standard input names no image; give one file or folder per line"


def test_a_file_of_predictions_holds_what_json_does_and_bad_images_are_passed_over(
    cli: Cli, weights: Path, pictures: list[Path], tmp_path: Path
) -> None:
    arguments = ("predict", "--weights", weights, "--threshold", "1.05", "--batch-size", "2")
    expected = json.loads(cli(*arguments, "--json", *pictures).out)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    # A whole batch of bad files, some between, and one at the end.
    given = [broken, broken, *pictures[:3], tmp_path / "no*.png", *pictures[3:], broken]
    for out in (tmp_path / "new" / "out.csv", tmp_path / "out.jsonl"):
        result = cli(*arguments, "--out", out, *given)
        assert (result.code, result.sentence) == (1, "4 of 19 images cannot be used, and have no prediction")
        assert result.err.count("left out: ") == 4
        assert f"written: {out}" in result.out
        with out.open(newline="") as file:
            lines = list(csv.DictReader(file)) if out.suffix == ".csv" else [json.loads(line) for line in file]
        assert [{key: str(value) for key, value in each.items()} for each in lines] == [
            {key: str(value) for key, value in each.items()} for each in expected["predictions"]
        ]
    as_json = json.loads(cli(*arguments, "--json", "--out", tmp_path / "out.csv", *given).out)
    assert as_json["gflops"] == pytest.approx(expected["gflops"])
    assert (as_json["images"], as_json["failed_images"], len(as_json["failed"])) == (15, 4, 4)
    exits = [each["exit"] for each in expected["predictions"]]
    assert as_json["exit_shares"] == [exits.count(exit) / 15 for exit in (1, 2, 3)]


def test_a_file_of_predictions_is_whole_or_absent(
    cli: Cli, weights: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("former")
    missing = [tmp_path / "a.png", tmp_path / "b.png"]
    result = cli("predict", "--weights", weights, "--out", out, *missing)
    assert result.sentence == "none of the 2 images can be used"
    assert [path.read_text() for path in tmp_path.iterdir() if path.is_file()] == ["former"]
    for name, sentence in [
        ("out.txt", f"--out {tmp_path / 'out.txt'}: expected a name that ends in .csv or .jsonl"),
        ("copied", f"--out {tmp_path / 'copied'}: expected a name that ends in .csv or .jsonl"),
    ]:
        result = cli("predict", "--weights", weights, "--out", tmp_path / name, pictures[0])
        assert (result.code, result.sentence) == (2, sentence)
    (tmp_path / "folder.csv").mkdir()
    result = cli("predict", "--weights", weights, "--out", tmp_path / "folder.csv", pictures[0])
    assert (result.code, result.sentence) == (2, f"--out {tmp_path / 'folder.csv'}: is a folder; name a file in it")
