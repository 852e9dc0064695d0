from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from greenedge.errors import CheckpointError
from greenedge.training.history import parse_records, read_history, write_history
from tests.training.helpers import full_disk


def record(epoch: Any, **changes: Any) -> dict[str, Any]:
    usual = {
        "epoch": epoch,
        "loss": 1.5,
        "train_accuracy": [None, 0.25],
        "train_labels": "true",
        "learning_rate": 0.1,
        "seconds": 2.5,
        "images_per_second": 9.5,
        "split": "val",
        "accuracy": [0.5, 0.25],
    }
    return {**usual, **changes}


def written(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def refusal(path: Path, **options: Any) -> str:
    before = path.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        read_history(path, **options)
    assert path.read_bytes() == before
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_write_history_reads_back_equal_with_one_line_per_epoch(tmp_path: Path) -> None:
    path = tmp_path / "run" / "history.jsonl"
    assert read_history(path) == []
    records = [record(epoch) for epoch in (1, 2, 3)]
    write_history(path, parse_records(records))
    assert read_history(path, num_exits=2) == parse_records(records)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == records


@pytest.mark.parametrize("epochs", [[1, 3], [3], [2, 1, 3], [0.5, 2, 3], [1, 1], [0, 1], ["1"], [True]])
def test_read_history_refuses_epochs_that_are_not_one_to_n_in_order(tmp_path: Path, epochs: list[Any]) -> None:
    found = refusal(written(tmp_path / "history.jsonl", *map(record, epochs)))
    assert "is damaged" in found
    assert found.endswith("; put back a copy of it")


@pytest.mark.parametrize("damage", ["{", "epoch 2", "5", "[1]", "null", "{}", '{"epoch": 2', "", "[" * 100_000])
def test_read_history_names_a_damaged_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps(record(1)) + "\n" + damage + "\n")
    assert refusal(path).startswith("line 2 ")


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "low"},
        {"loss": -1},
        {"accuracy": [0.5, 1.5]},
        {"accuracy": [0.5]},
        {"accuracy": []},
        {"train_accuracy": [0.5, 0.5, 0.5]},
        {"split": "test"},
        {"seconds": True},
        {"surplus": 1},
    ],
)
def test_read_history_refuses_impossible_values(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = written(tmp_path / "history.jsonl", record(1), record(2, **changes))
    assert refusal(path).startswith("line 2 is damaged: ")


def test_write_history_refuses_numbers_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps(record(1)).replace("1.5", "NaN") + "\n")
    assert "no finite number" in refusal(path)


def test_read_history_refuses_a_history_of_other_exits(tmp_path: Path) -> None:
    assert "expected the accuracies of 3 exits" in refusal(written(tmp_path / "h.jsonl", record(1)), num_exits=3)


def test_read_history_refuses_a_truncated_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps(record(1)))
    assert "truncated" in refusal(path)


def test_write_history_on_a_full_disk_keeps_the_old_history(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    records = parse_records([record(epoch) for epoch in range(1, 101)])
    write_history(path, records[:1])
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match=r"cannot be written \(File too large\): '.*history\.jsonl'$"):
        write_history(path, records)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
