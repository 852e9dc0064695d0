"""`greenedge train` in several processes, which torchrun's agent starts, as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY
from tests.device.test_processes import free_port, variables


def start(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "greenedge", "train", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and what it said."""
    _, err = process.communicate(timeout=300)
    return process.returncode, err


def same(first: Path, second: Path) -> bool:
    ours, theirs = (load_file(each / "last.safetensors") for each in (first, second))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def workers(agent: int) -> list[int]:
    """The processes that an agent has started."""
    children = Path(f"/proc/{agent}/task/{agent}/children")
    return [int(each) for each in children.read_text().split()] if children.exists() else []


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture
def in_parts(tiny_config: Path, tmp_path: Path) -> Path:
    """A run of one process that computes each step in two parts."""
    process = start("--config", tiny_config, "--out", tmp_path / "in-parts", "--set", "train.accumulate=2")
    assert finish(process)[0] == 0
    return tmp_path / "in-parts"


@pytest.mark.slow
def test_two_processes_train_what_one_trains_in_two_parts(tiny_config: Path, in_parts: Path, tmp_path: Path) -> None:
    code, err = finish(start("--config", tiny_config, "--out", tmp_path / "run", "--processes", 2))
    assert code == 0
    assert err.endswith(f"\ndone: weights, history and figure are in {tmp_path / 'run'}\n")
    assert err.count("2 processes together") == 1  # one of them speaks
    assert same(tmp_path / "run", in_parts)
    for ours, theirs in zip(records(tmp_path / "run"), records(in_parts), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)  # its sum is exchanged in float32
        assert ours["train_accuracy"] == theirs["train_accuracy"]
        assert ours["accuracy"] == theirs["accuracy"]


EARLY = "train.early_stopping={patience: 2, min_delta: 0.05}"
PLATEAU = "train.schedule={plateau: {patience: 0, factor: 0.5, min_delta: 0.05}}"


@pytest.mark.slow
def test_two_processes_agree_on_what_follows_the_epochs(tiny_config: Path, tmp_path: Path) -> None:
    common = ["--config", tiny_config, "--set", EARLY, "--set", PLATEAU, "--set", "train.epochs=30"]
    together, alone = tmp_path / "together", tmp_path / "alone"
    logged = ("--set", "train.loggers=[tensorboard]")
    first = start(*common, *logged, "--out", together, "--processes", 2)
    second = start(*common, "--set", "train.accumulate=2", "--out", alone)
    assert (finish(first)[0], finish(second)[0]) == (0, 0)
    assert same(together, alone)
    ours, theirs = records(together), records(alone)
    assert 3 <= len(ours) < 30
    assert [each["learning_rate"] for each in ours] == [each["learning_rate"] for each in theirs]
    assert len(list((together / "logs").glob("events.*"))) == 1  # one of them logs


@pytest.mark.slow
def test_a_stopped_training_of_two_goes_on_to_the_same_weights(
    tiny_config: Path, in_parts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    longer = ("--config", tiny_config, "--out", out, "--processes", 2)
    process = start(*longer, "--set", "train.epochs=500")
    wait_for(out / "last.state.pt", process)
    process.send_signal(signal.SIGTERM)
    code, err = finish(process)
    assert code == 128 + signal.SIGTERM
    assert f"\nstopped by SIGTERM; continue with: greenedge train --out {out} --resume --processes 2\n" in err

    (tmp_path / "short").mkdir()
    first = start("--config", tiny_config, "--out", tmp_path / "short", "--processes", 2, "--set", "train.epochs=1")
    assert finish(first)[0] == 0
    second = start("--config", tiny_config, "--out", tmp_path / "short", "--processes", 2, "--resume")
    code, err = finish(second)
    assert code == 0
    assert "resuming after epoch 1" in err
    assert "parts" not in err
    assert same(tmp_path / "short", in_parts)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_a_killed_process_is_started_anew(tiny_config: Path, tmp_path: Path, count: int) -> None:
    recipe = ("--config", tiny_config, "--set", "train.batch_size=6", "--set", "train.epochs=6", "--processes", count)
    unbroken, out = tmp_path / "unbroken", tmp_path / "run"
    assert finish(start(*recipe, "--out", unbroken))[0] == 0

    often = ("--set", "train.checkpoint_every={steps: 1}")
    process = start(*recipe, *often, "--out", out, "--max-restarts", 2)
    wait_for(out / "last.state.pt", process)
    os.kill(workers(process.pid)[-1], signal.SIGKILL)
    code, err = finish(process)
    assert code == 0, err
    assert "resuming after epoch" in err
    assert same(out, unbroken)


@pytest.mark.slow
def test_a_killed_process_ends_all_where_none_is_started_anew(tiny_config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start("--config", tiny_config, "--out", out, "--processes", 2, "--set", "train.epochs=500")
    wait_for(out / "last.state.pt", process)
    os.kill(workers(process.pid)[-1], signal.SIGKILL)
    code, err = finish(process)
    assert code == 1
    assert "was killed by SIGKILL; continue with --resume" in err
    assert "Traceback" not in err


def two_ranks(each: Sequence[Sequence[object]]) -> list[tuple[int, str]]:
    port = free_port()
    started = [start(*arguments, environment=variables(rank, 2, port)) for rank, arguments in enumerate(each)]
    return [finish(process) for process in started]


@pytest.mark.slow
def test_a_process_with_another_config_ends_all(tiny_config: Path, tmp_path: Path) -> None:
    usual = ("--config", tiny_config, "--out", tmp_path / "run")
    (first, said), (second, also_said) = two_ranks([usual, (*usual, "--set", "train.optimizer.adam.lr=0.5")])
    assert (first, second) == (1, 1)
    assert said.splitlines()[-1] == "error: process 1 of 2 was started with another config"
    assert also_said.splitlines()[-1] == "error: process 1: process 1 of 2 was started with another config"
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.slow
def test_a_process_that_cannot_start_ends_the_others(tiny_config: Path, tmp_path: Path) -> None:
    usual = ("--config", tiny_config, "--out", tmp_path / "run")
    (first, _), (second, said) = two_ranks([usual, (*usual, "--set", "data.path=nowhere")])
    assert first == 1
    assert second != 0
    assert said.splitlines()[-1].startswith("error: process 1: ")
    assert "nowhere" in said


def test_images_that_do_not_go_round_are_refused(cli: Cli, tiny_config: Path, tmp_path: Path) -> None:
    refused = cli("train", "--config", tiny_config, "--out", tmp_path / "run", "--set", "train.accumulate=3")
    assert refused.code == 2
    assert "train.accumulate: is 3, which does not divide train.batch_size, 8" in refused.sentence


@pytest.mark.slow
def test_a_batch_that_three_cannot_divide_is_refused_once(tiny_config: Path, tmp_path: Path) -> None:
    code, err = finish(start("--config", tiny_config, "--out", tmp_path / "run", "--processes", 3))
    assert code == 2
    errors = [line for line in err.splitlines() if "error: " in line]
    assert "8 images cannot be divided among 3 processes" in errors[0]
    assert "multiple of 3" in errors[0]


def test_processes_are_not_started_by_processes(cli: Cli, tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in variables(0, 2, 1).items():
        monkeypatch.setenv(name, text)
    refused = cli("train", "--config", tiny_config, "--processes", 2)
    assert refused.code == 2
    assert "leave it out under torchrun" in refused.sentence
