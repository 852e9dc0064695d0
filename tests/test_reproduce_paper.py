"""`scripts/reproduce_paper`: rows trained again, continued, and set beside the report's numbers."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "paper" / "reproduce.py"
SMALL = ["--set", "train.batch_size=10", "--set", "data.image_size=32", "--set", "model.weights=null"]


def reproduce(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)


def listed() -> dict[str, str]:
    """Row -> config, as `--list` prints them."""
    lines = reproduce("--list").stdout.splitlines()
    config = lines[0].index("config")
    return {line.split()[0]: line[config:].split()[0] for line in lines[2:]}


def test_every_row_has_a_config_and_every_config_a_row() -> None:
    configs = {path.stem for path in (REPOSITORY / "configs" / "paper").glob("*.yaml")}
    assert set(listed().values()) == configs


def test_the_submitted_rows_are_the_thresholds_of_their_configs() -> None:
    rows = listed()
    for config, count in (("table2-resnext50-64", 7), ("table2-resnext50-128", 4)):
        text = (REPOSITORY / "configs" / "paper" / f"{config}.yaml").read_text()
        thresholds = yaml.safe_load(text)["sweep"]["thresholds"]
        submitted = [row for row, theirs in rows.items() if theirs == config and row.startswith("submitted")]
        assert [float(row.rpartition("T")[2]) for row in submitted] == thresholds
        assert len(thresholds) == count


@pytest.mark.slow
def test_rows_are_trained_once_continued_and_reported(prepared: Path, tmp_path: Path) -> None:
    rows = ["table1-plain", "submitted-64-T0", "submitted-64-T3.9"]
    arguments = [*rows, "--data", prepared, "--out", tmp_path, "--fraction", 0.9, *SMALL]
    first = reproduce(*arguments, "--epochs", 1)
    assert first.returncode == 0, first.stderr
    weights = tmp_path / "table2-resnext50-64" / "best.safetensors"
    stamp = weights.stat().st_mtime_ns

    again = reproduce(*arguments, "--epochs", 1)
    assert again.stdout == first.stdout
    assert weights.stat().st_mtime_ns == stamp  # nothing was trained again

    records = json.loads((tmp_path / "report.json").read_text())
    assert [record["row"] for record in records] == rows
    assert records[1]["report_accuracy"] == 0.72
    assert "72.0" in first.stdout
    assert records[1]["images"] == 33  # 0.9 of 12, rounded up, for each of 3 classes
    sweep = reproduce_by_hand(tmp_path / "table2-resnext50-64", prepared)
    for record in records[1:]:
        point = next(each for each in sweep["points"] if each["thresholds"][0] == record["threshold"])
        assert record["accuracy"] == pytest.approx(point["accuracy"])
        assert record["gflops"] == pytest.approx(point["gflops"])
    with (tmp_path / "report.csv").open() as file:
        assert [line["row"] for line in csv.DictReader(file)] == rows
    for number in (1, 2, 3):
        assert (tmp_path / f"figure{number}.png").read_bytes().startswith(b"\x89PNG")

    longer = reproduce("table1-plain", *arguments[3:], "--epochs", 2)
    assert longer.returncode == 0, longer.stderr
    assert len((tmp_path / "table1-plain" / "history.jsonl").read_text().splitlines()) == 2


def reproduce_by_hand(run: Path, prepared: Path) -> dict[str, list[dict[str, list[float]]]]:
    """What `greenedge sweep` says of the same weights."""
    command = [sys.executable, "-m", "greenedge", "sweep", "--json", "--weights", str(run / "best.safetensors")]
    done = subprocess.run([*command, "--data", str(prepared)], capture_output=True, text=True, check=True)
    swept: dict[str, list[dict[str, list[float]]]] = json.loads(done.stdout)
    return swept


def test_a_row_that_cannot_be_run_is_named_and_the_others_go_on(prepared: Path, tmp_path: Path) -> None:
    arguments = ["--data", prepared, "--out", tmp_path, "--epochs", 1, *SMALL[:4]]
    # AlexNet's pooling leaves nothing of 32 px.
    done = reproduce("alexnet", "table1-plain", *arguments)
    assert done.returncode == 1
    assert "not run: baseline-alexnet:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "table1-plain" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["table3"], "error: there is no row 'table3'; --list shows them"),
        ([], "error: name rows that --list shows, or all"),
    ],
)
def test_a_wrong_name_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = reproduce(*arguments)
    assert done.returncode == 2
    assert done.stderr.strip() == sentence
