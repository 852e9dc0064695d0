from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.cli.conftest import Cli


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "last.safetensors")


def same(first: Path, second: Path) -> bool:
    ours, theirs = tensors(first), tensors(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_directory_holds_what_a_run_leaves(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "config.yaml",
        "environment.json",
        "history.jsonl",
        "best.safetensors",
        "last.safetensors",
        "last.state.pt",
        "training.png",
    }
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2]
    assert history[0]["train_labels"] == "dominant"  # the recipe has CutMix
    assert history[0]["split"] == "calibration"
    assert len(history[0]["accuracy"]) == 3


def test_the_resolved_recipe_trains_to_the_same_weights(cli: Cli, trained: Path, tmp_path: Path) -> None:
    assert cli("train", "--config", trained / "config.yaml", "--out", tmp_path / "again").code == 0
    assert same(trained, tmp_path / "again")


def test_one_epoch_and_one_resumed_are_two(cli: Cli, recipe: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", recipe, "--out", out, "--set", "train.epochs=1").code == 0
    assert not same(trained, out)
    resumed = cli("train", "--config", recipe, "--out", out, "--resume")
    assert resumed.code == 0
    assert "resuming after epoch 1" in resumed.err
    assert same(trained, out)
    assert len((out / "history.jsonl").read_text().splitlines()) == 2


def test_a_finished_run_can_be_made_longer_by_its_own_recipe(
    cli: Cli, recipe: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", recipe, "--out", out, "--set", "train.epochs=1").code == 0
    assert cli("train", "--out", out, "--resume", "--set", "train.epochs=2").code == 0
    assert same(trained, out)
    again = cli("train", "--out", out, "--resume")  # its recipe says 2 epochs now, and they are done
    assert again.code == 0
    assert same(trained, out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_run_that_continues_to_the_same_weights(
    cli: Cli, recipe: Path, tmp_path: Path, number: signal.Signals
) -> None:
    longer = ["--set", "train.epochs=200"]  # stopped long before that
    out = tmp_path / "run"
    command = [sys.executable, "-m", "greenedge", "train", "--config", str(recipe), "--out", str(out), *longer]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (out / "history.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}; continue with: greenedge train --config" in err
    state = torch.load(out / "last.state.pt", weights_only=True)
    epochs = int(state["epoch"]) + 1

    # As many epochs as that, broken and unbroken, on one thread like the stopped process.
    base = ["train", "--config", recipe, "--set", f"train.epochs={epochs}"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert cli(*base, "--out", out, "--resume").code == 0
        assert cli(*base, "--out", tmp_path / "unbroken").code == 0
    finally:
        torch.set_num_threads(threads)
    assert same(out, tmp_path / "unbroken")


def test_a_directory_that_holds_a_run_is_not_overwritten(cli: Cli, recipe: Path, trained: Path) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    result = cli("train", "--config", recipe, "--out", trained)
    assert result.code == 2
    assert "holds a run or other files already; use --resume" in result.sentence
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_resuming_another_recipe_names_the_difference(cli: Cli, recipe: Path, trained: Path) -> None:
    result = cli("train", "--config", recipe, "--out", trained, "--resume", "--set", "train.seed=1")
    assert result.code == 2
    assert "train.seed = 0, the recipe now says 1" in result.sentence


def test_resuming_nothing_says_so(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    result = cli("train", "--config", recipe, "--out", tmp_path / "none", "--resume")
    assert result.code == 1
    assert "holds no run to resume" in result.sentence
    assert cli("train", "--resume").code == 2


def test_a_full_disk_while_training_loses_nothing(cli: Cli, recipe: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", recipe, "--out", out, "--set", "train.epochs=1").code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY));"
        "from greenedge.cli.main import run; sys.argv = ['greenedge', *sys.argv[1:]]; run()"
    )
    arguments = ["train", "--config", str(recipe), "--out", str(out), "--resume"]
    result = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    assert "Traceback" not in result.stderr
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert after["last.state.pt"] == before["last.state.pt"]
    assert after.keys() == before.keys()
    assert cli("train", "--config", recipe, "--out", out, "--resume").code == 0
    assert same(trained, out)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.path=nowhere", "nowhere: no prepared data set here; make one with"),
        ("data.calibration_per_class=12", "choose a smaller one"),
        ("train.epoch=2", "did you mean 'epochs'?"),
        ("train.epochs=0", "expected a number at least 1, found 0"),
        ("train.optimizer={adam: {rate: 1}}", "train.optimizer.adam.rate: unknown key"),
        ("model.backbone=resnet19", "there is no 'resnet19'; did you mean 'resnet18'?"),
        ("model.exits.0.after=layer9", "there is no block 'layer9'; did you mean"),
        ("model.exits.1.after=layer1", "there is already an exit after 'layer1.1'"),
        ("model.exits.0.head=lihgt", "there is no 'lihgt'; did you mean 'light'?"),
        ("model.weights=absent.pth", "absent.pth: no such file of weights"),
        ("train.freeze=[{until: layer7, epochs: 1}]", "train.freeze.0.until: there is no block 'layer7'; did you mean"),
        ("train.freeze=[{until: layer1, epochs: 0}]", "train.freeze.0.epochs: expected a number at least 1, found 0"),
        ("train.trunk_lr=-1", "train.trunk_lr: expected a number at least 0, found -1"),
        ("train.exit_weights=[1, 1]", "train.exit_weights: has 2 numbers and needs 3"),
        ("augment=[cutmax]", "there is no 'cutmax'; did you mean 'cutmix'?"),
        ("augment=[{horizontal_flip: {probability: 2}}]", "expected a number at least 0 and at most 1, found 2"),
        ("sweep.criterion=entropie", "sweep.criterion: there is no 'entropie'; did you mean 'entropy'?"),
        ("train.optimizer={sgd: {momentum: 0}}", "nesterov needs a momentum above 0"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_one_sentence_and_leaves_nothing(
    cli: Cli, recipe: Path, tmp_path: Path, setting: str, words: str
) -> None:
    result = cli("train", "--config", recipe, "--out", tmp_path / "run", "--set", setting)
    assert result.code in (1, 2)
    assert words in result.sentence
    assert not (tmp_path / "run").exists()
