from __future__ import annotations

import json
from pathlib import Path

import pytest

from greenedge.errors import CheckpointError
from greenedge.training.history import append_history, read_history
from tests.training.helpers import full_disk


def test_what_is_appended_is_read_back_one_json_line_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "run" / "history.jsonl"
    assert read_history(path) == []
    records = [{"epoch": epoch, "loss": 0.1 * epoch, "accuracy": [0.5, 0.25], "split": "ä"} for epoch in (1, 2, 3)]
    for index, record in enumerate(records):
        assert append_history(path, record) == records[: index + 1]
    assert read_history(path) == records
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == records


@pytest.mark.parametrize(("again", "kept"), [(2, [1]), (1, []), (3, [1, 2]), (4, [1, 2, 3])])
def test_a_repeated_epoch_replaces_itself_and_all_later_ones(tmp_path: Path, again: int, kept: list[int]) -> None:
    path = tmp_path / "history.jsonl"
    for epoch in (1, 2, 3):
        append_history(path, {"epoch": epoch, "loss": 1.0})
    append_history(path, {"epoch": again, "loss": 2.0})
    assert [(r["epoch"], r["loss"]) for r in read_history(path)] == [*((e, 1.0) for e in kept), (again, 2.0)]


@pytest.mark.parametrize("damage", ["{", "epoch 2", "5", "[1]", "null", "{}", '{"epoch": 2', ""])
def test_a_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"epoch": 1}\n' + damage + "\n")
    before = path.read_bytes()
    for use in (lambda: read_history(path), lambda: append_history(path, {"epoch": 3})):
        with pytest.raises(
            CheckpointError, match=r"history\.jsonl:2: is not the record of an epoch; remove it and resume$"
        ):
            use()
    assert path.read_bytes() == before


def test_a_full_disk_is_one_sentence_and_leaves_the_history_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_history(path, {"epoch": 1})
    with full_disk(), pytest.raises(OSError, match=r"cannot be written \(File too large\): '.*history\.jsonl'$"):
        append_history(path, {"epoch": 2, "note": "x" * 10_000})
    assert read_history(path) == [{"epoch": 1}]
    assert list(tmp_path.iterdir()) == [path]
