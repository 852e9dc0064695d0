"""What loggers get of a training, read back with the loggers' own libraries."""

from __future__ import annotations

import csv
import importlib.util
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenedge.training import loggers, run_loggers
from greenedge.training.history import HistoryRecord, epoch_values, read_history
from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY

Values = dict[str, list[tuple[int, float]]]  # name -> pairs of step and value


def tensorboard_values(run: Path) -> Values:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "logs"))
    events.Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


def mlflow_values(run: Path) -> Values:
    from mlflow import MlflowClient

    client = MlflowClient(str(run.parent / "mlruns"))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    [logged] = client.search_runs([experiment.experiment_id])
    assert (logged.info.run_name, logged.info.status) == (run.name, "FINISHED")
    assert logged.data.params["train.optimizer.adam.lr"] == "0.001"
    history = {name: client.get_metric_history(logged.info.run_id, name) for name in logged.data.metrics}
    return {name: [(each.step, each.value) for each in values] for name, values in history.items()}


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of a log as LevelDB writes it, after the 7 bytes of W&B's own header."""
    position, parts = 7, b""
    while position < len(content):
        if position % 32768 > 32768 - 7:  # no header fits into the rest of a block
            position += -position % 32768
            continue
        length, kind = struct.unpack("<HB", content[position + 4 : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def wandb_values(run: Path) -> Values:
    """Of the last of the folders that a run leaves offline: `wandb sync` puts it in place of those before it."""
    from wandb.proto import wandb_internal_pb2

    values = Values()
    newest = sorted((run / "logs" / "wandb").glob("offline-run-*/run-*.wandb"))[-1]
    for data in leveldb_records(newest.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            name = item.key or ".".join(item.nested_key)
            values.setdefault(name, []).append((record.history.step.num, json.loads(item.value_json)))
    assert [value for _, value in values.pop("epoch")] == [step for step, _ in values["loss"]]
    return {name: pairs for name, pairs in values.items() if not name.startswith("_")}


READERS: dict[str, Callable[[Path], Values]] = {
    "tensorboard": tensorboard_values,
    "mlflow": mlflow_values,
    "wandb": wandb_values,
}
ALL = "train.loggers=[tensorboard, {mlflow: {experiment: tiny}}, {wandb: {project: tiny, mode: offline}}]"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the loggers' libraries
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_loggers_hold_each_epoch_of_a_resumed_run_once(
    cli: Cli, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out, plain = tmp_path / "run", tmp_path / "plain"
    assert cli("train", "--config", tiny_config, "--out", out, "--set", ALL, "--set", "train.epochs=1").code == 0
    assert cli("train", "--out", out, "--resume", "--set", "train.epochs=3").code == 0
    history = read_history(out / "history.jsonl")
    assert [each.epoch for each in history] == [1, 2, 3]
    for read in READERS.values():
        values = read(out)
        assert set(values) == set(epoch_values(history[0]))
        for name, pairs in values.items():
            expected = [(each.epoch, epoch_values(each)[name]) for each in history]
            assert pairs == [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in expected]

    # Logging changes nothing of the training.
    assert cli("train", "--config", tiny_config, "--out", plain, "--set", "train.epochs=3").code == 0
    ours, theirs = history, read_history(plain / "history.jsonl")
    assert [(each.loss, each.accuracy) for each in ours] == [(each.loss, each.accuracy) for each in theirs]

    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    for row, record in zip(rows, history, strict=True):
        assert (int(row["epoch"]), row["train_labels"], row["split"]) == (record.epoch, "dominant", "calibration")
        assert {name: float(row[name]) for name in epoch_values(record)} == epoch_values(record)


class Failing:
    """A logger whose server goes away in the second epoch."""

    def __init__(self, run: loggers.LoggedRun) -> None:
        self.path = run.folder / "received.txt"

    def record(self, record: HistoryRecord) -> None:
        if record.epoch == 2:
            raise ConnectionError("the server is gone\nfor good")
        with self.path.open("a") as file:
            file.write(f"{record.epoch}\n")

    def close(self) -> None:
        raise AssertionError("is not asked again")


def test_a_logger_that_fails_loses_no_training(
    cli: Cli, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loggers.LOGGERS, "wandb", Failing)
    three = ["--set", "train.epochs=3", "--set", "train.loggers=[wandb]"]
    result = cli("train", "--config", tiny_config, "--out", tmp_path / "run", *three)
    assert result.code == 0
    assert (
        "note: the logger wandb fails (the server is gone) and gets no more epochs; the training goes on" in result.err
    )
    assert len(read_history(tmp_path / "run" / "history.jsonl")) == 3
    assert (tmp_path / "run" / "logs" / "received.txt").read_text() == "1\n"


def test_a_logger_that_cannot_start_is_refused(
    cli: Cli, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_run: loggers.LoggedRun) -> Any:
        raise PermissionError("no account")

    monkeypatch.setitem(loggers.LOGGERS, "wandb", refuse)
    out = tmp_path / "run"
    result = cli("train", "--config", tiny_config, "--out", out, "--set", "train.loggers=[wandb]")
    assert result.code == 2
    assert "train.loggers.0: wandb cannot be started (no account); fix that, or remove it here" in result.sentence
    again = cli("train", "--config", tiny_config, "--out", out, "--set", "train.epochs=1")
    assert again.code == 0  # the refused start is no run
    assert (out / "best.safetensors").exists()


@pytest.mark.parametrize("name", loggers.LOGGERS)
def test_a_missing_logger_is_refused_by_its_extra(
    cli: Cli, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(run_loggers.importlib.util, "find_spec", lambda other: None if other == name else find(other))
    result = cli("train", "--config", tiny_config, "--out", tmp_path / "run", "--set", f"train.loggers=[{name}]")
    assert result.code == 2
    assert f"train.loggers.0: {name} is not installed; pip install 'greenedge[{name}]'" in result.sentence
    assert not (tmp_path / "run").exists()


def test_a_logger_is_named_once(cli: Cli, tiny_config: Path, tmp_path: Path) -> None:
    two = "train.loggers=[tensorboard, {tensorboard: {}}]"
    result = cli("train", "--config", tiny_config, "--out", tmp_path / "run", "--set", two)
    assert result.code == 2
    assert "train.loggers.1: tensorboard is named twice" in result.sentence


def test_loggers_are_imported_only_where_they_are_used() -> None:
    script = (
        "import sys; import greenedge.workflows.train, greenedge.training.configs;"
        "print(sorted({'tensorboard', 'wandb', 'mlflow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == "[]\n"
