from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli
from tests.conftest import CLASSES, VAL_PER_CLASS, write_image, write_official_layout


@pytest.fixture(scope="module")
def corrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`copies`: the clean validation images, and `noise`, other images at two severities."""
    root = tmp_path_factory.mktemp("corrupted")
    official = write_official_layout(tmp_path_factory.mktemp("official"))
    for path in (official / "val" / "images").iterdir():
        number = int(path.stem.removeprefix("val_"))
        wnid = CLASSES[number // VAL_PER_CLASS]
        (root / "copies" / "1" / wnid).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / "copies" / "1" / wnid)
        for severity in (1, 2):
            write_image(root / "noise" / str(severity) / wnid / path.name, 5000 * severity + number)
    return root


def test_copies_are_as_the_clean_images_and_others_as_predict_has_them(
    cli: Cli, weights: Path, corrupted: Path
) -> None:
    arguments = ("--weights", weights, "--threshold", "1.05")
    result = cli("robustness", corrupted, *arguments, "--batch-size", "4", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    evaluated = json.loads(cli("eval", *arguments, "--json").out)
    copies, *noise = found["sets"]
    for each in (found["clean"], copies, found["corruptions"]["copies"]):
        assert each["accuracy"] == pytest.approx(evaluated["accuracy"])
        assert each["gflops"] == pytest.approx(evaluated["gflops"])
        assert each["exit_shares"] == pytest.approx(evaluated["exit_shares"])
        assert each["gflops_drift"] == pytest.approx(0)

    for severity, each in enumerate(noise, start=1):
        folder = corrupted / "noise" / str(severity)
        predicted = json.loads(cli("predict", *arguments, "--json", folder).out)
        assert (each["corruption"], each["severity"], each["images"]) == ("noise", severity, 15)
        assert each["exit_shares"] == pytest.approx(predicted["exit_shares"])
        assert each["gflops"] == pytest.approx(predicted["gflops"])
        assert each["gflops_drift"] == pytest.approx(predicted["gflops"] / evaluated["gflops"] - 1)
        right = [Path(one["image"]).parent.name == one["label"] for one in predicted["predictions"]]
        assert each["accuracy"] == pytest.approx(np.mean(right))
    means = found["corruptions"]["noise"]
    for key in ("accuracy", "gflops", "exit_shares"):
        assert means[key] == pytest.approx(np.mean([each[key] for each in noise], axis=0))

    with (weights.parent / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["corruption"], row["severity"]) for row in rows] == [
        ("", "0"),
        ("copies", "1"),
        ("noise", "1"),
        ("noise", "2"),
    ]
    assert [float(row["gflops"]) for row in rows[2:]] == [each["gflops"] for each in noise]
    assert (weights.parent / "robustness.png").stat().st_size > 10_000


def test_hold_budget_shows_running_quantiles_beside_the_policy(cli: Cli, weights: Path, corrupted: Path) -> None:
    arguments = (corrupted, "--weights", weights, "--threshold", "1.05", "--hold-budget", "--corruption", "noise")
    result = cli("robustness", *arguments)
    assert result.code == 0
    assert "held: each exit's limit is a running quantile" in result.out
    with (weights.parent / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["severity"] for row in rows] == ["0", "1", "2"]
    for row in rows:  # fewer images than the warm-up has: all exit by the policy's own limits
        assert row["held_gflops"] == row["gflops"]


def test_bad_input_is_one_sentence(cli: Cli, weights: Path, corrupted: Path, tmp_path: Path) -> None:
    broken = tmp_path / "c" / "fog" / "1" / "n01" / "a.JPEG"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not an image")
    for arguments, code, sentence in [
        ([tmp_path / "none"], 1, f"{tmp_path / 'none'}: no such folder"),
        ([tmp_path / "c"], 1, f"{broken}: is not an image, despite its name; replace or remove it"),
        (
            [corrupted, "--corruption", "snow"],
            2,
            f"{corrupted}: has no corruption 'snow'; it has copies, noise",
        ),
        (
            [corrupted, "--hold-budget", "--criterion", "patience", "--threshold", "1"],
            2,
            "--hold-budget needs scores that differ from image to image, and patience only counts exits; use a policy "
            "with another criterion",
        ),
    ]:
        result = cli("robustness", "--weights", weights, *arguments)
        assert (result.code, result.sentence) == (code, sentence)
        assert result.out == ""
        assert not (weights.parent / "robustness.json").exists()
