from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file

from greenedge.training.checkpoint import read_checkpoint
from greenedge.training.configs import read_config
from greenedge.training.run import Run, build_run
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
        "history.csv",
        "history.jsonl",
        "best.safetensors",
        "last.safetensors",
        "last.state.pt",
        "training.png",
    }
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2]
    assert history[0]["train_labels"] == "dominant"  # the config has CutMix
    assert history[0]["split"] == "calibration"
    assert len(history[0]["accuracy"]) == 3


def test_the_resolved_config_trains_to_the_same_weights(cli: Cli, trained: Path, tmp_path: Path) -> None:
    assert cli("train", "--config", trained / "config.yaml", "--out", tmp_path / "again").code == 0
    assert same(trained, tmp_path / "again")


def test_one_epoch_and_one_resumed_are_two(cli: Cli, config: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", config, "--out", out, "--set", "train.epochs=1").code == 0
    assert not same(trained, out)
    resumed = cli("train", "--config", config, "--out", out, "--resume")
    assert resumed.code == 0
    assert "resuming after epoch 1" in resumed.err
    assert same(trained, out)
    assert len((out / "history.jsonl").read_text().splitlines()) == 2


def test_a_finished_run_can_be_made_longer_by_its_own_config(
    cli: Cli, config: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", config, "--out", out, "--set", "train.epochs=1").code == 0
    assert cli("train", "--out", out, "--resume", "--set", "train.epochs=2").code == 0
    assert same(trained, out)
    again = cli("train", "--out", out, "--resume")  # its config says 2 epochs now, and they are done
    assert again.code == 0
    assert same(trained, out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_leaves_a_run_that_continues_to_the_same_weights(
    cli: Cli, config: Path, tmp_path: Path, number: signal.Signals
) -> None:
    longer = ["--set", "train.epochs=200"]  # stopped long before that
    out = tmp_path / "run"
    command = [sys.executable, "-m", "greenedge", "train", "--config", str(config), "--out", str(out), *longer]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (out / "history.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    printed = err.rpartition("continue with: ")[2].strip()
    assert printed == f"greenedge train --out {out} --resume"  # the run's own config knows what it was started with
    state = torch.load(out / "last.state.pt", weights_only=True)
    epochs = int(state["epoch"]) + 1

    # As many epochs as that, broken and unbroken, on one thread like the stopped process.
    base = ["train", "--config", config, "--set", f"train.epochs={epochs}"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert cli(*base, "--out", out, "--resume").code == 0
        assert cli(*base, "--out", tmp_path / "unbroken").code == 0
    finally:
        torch.set_num_threads(threads)
    assert same(out, tmp_path / "unbroken")


def test_a_directory_that_holds_a_run_is_not_overwritten(cli: Cli, config: Path, trained: Path) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    result = cli("train", "--config", config, "--out", trained)
    assert result.code == 2
    assert (
        "holds a run or other files already; continue it with --resume, or train into another --out" in result.sentence
    )
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_resuming_another_config_names_the_difference(cli: Cli, config: Path, trained: Path) -> None:
    result = cli("train", "--config", config, "--out", trained, "--resume", "--set", "train.seed=1")
    assert result.code == 2
    assert "train.seed = 0, the config now says 1" in result.sentence


def test_resuming_nothing_starts_it_and_says_so(cli: Cli, config: Path, trained: Path, tmp_path: Path) -> None:
    result = cli("train", "--config", config, "--out", tmp_path / "none", "--resume")
    assert result.code == 0
    assert f"{tmp_path / 'none'}: holds no run yet, so it is started" in result.err
    assert same(tmp_path / "none", trained)
    assert cli("train", "--resume").code == 2
    assert cli("train", "--resume", "--out", tmp_path / "nowhere").code == 2
    assert not (tmp_path / "nowhere").exists()


def test_fewer_epochs_than_the_run_was_given_are_said(cli: Cli, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", config, "--out", out, "--set", "train.epochs=1").code == 0
    (out / "config.yaml").write_text((out / "config.yaml").read_text().replace("epochs: 1", "epochs: 9"))
    result = cli("train", "--config", config, "--out", out, "--resume")
    assert result.code == 0
    assert "note: the run was given 9 epochs and now ends after 2 (train.epochs)" in result.err


def test_a_network_that_diverges_is_no_result(cli: Cli, config: Path, tmp_path: Path) -> None:
    settings = ["train.epochs=1", "train.batch_size=30", "train.optimizer={sgd: {lr: 1e30}}"]
    options = [word for setting in settings for word in ("--set", setting)]
    result = cli("train", "--config", config, "--out", tmp_path / "run", *options)
    assert result.code == 1
    assert "no longer finite; start another run" in result.sentence
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_the_optimizers_state_is_kept_or_dropped_as_the_user_says(
    cli: Cli, config: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", config, "--out", out, "--set", "train.keep_state=false").code == 0
    assert not (out / "last.state.pt").exists()
    assert same(out, trained)
    again = cli("train", "--out", out, "--resume")
    assert again.code == 0
    longer = cli("train", "--out", out, "--resume", "--set", "train.epochs=3")
    assert longer.code == 1
    assert "was not kept (train.keep_state: false) or removed" in longer.sentence


def test_single_images_that_a_batch_norm_cannot_use_are_one_sentence(cli: Cli, config: Path, tmp_path: Path) -> None:
    result = cli("train", "--config", config, "--out", tmp_path / "run", "--set", "train.batch_size=1")
    assert result.code == 1
    assert "needs more than one value per channel; train on batches of 2 or more" in result.sentence


def test_the_best_weights_are_those_of_the_best_epoch(
    cli: Cli, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of means over exits 0.5, 0.75, 0.5, 0.75: the latest of the best is kept, and an earlier better one stays."""
    for accuracies, best in (((0.5, 0.75, 0.5), 2), ((0.75, 0.5, 0.5), 1), ((0.5, 0.75, 0.75), 3)):
        out, values = tmp_path / f"run{best}", iter(accuracies)
        monkeypatch.setattr("greenedge.workflows.train_epochs._accuracies", lambda _, v=values: (next(v),) * 3)
        assert cli("train", "--config", config, "--out", out, "--set", "train.epochs=3").code == 0
        assert read_checkpoint(out / "best.safetensors").info.epoch == best
        assert read_checkpoint(out / "last.safetensors").info.epoch == 3


@pytest.mark.slow
def test_a_killed_run_continues_to_the_weights_of_an_unbroken_one(tiny_config: Path, tmp_path: Path) -> None:
    """Killed at random moments, its start included; GREENEDGE_KILLS says how often."""
    kills, out = int(os.environ.get("GREENEDGE_KILLS", "5")), tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "greenedge", "train", "--config", str(tiny_config)]
    command += ["--set", "train.epochs=4"]
    started = time.monotonic()
    whole = [*command, "--out", str(tmp_path / "unbroken")]
    subprocess.run(whole, check=True, capture_output=True, env=environment)
    seconds = time.monotonic() - started
    random = np.random.default_rng(0)
    for _ in range(kills):
        process = subprocess.Popen(
            [*command, "--out", str(out), "--resume"], stderr=subprocess.DEVNULL, env=environment
        )
        time.sleep(float(random.uniform(0, seconds)))
        process.kill()
        process.wait()
        for name in ("best", "last"):
            if (out / f"{name}.safetensors").exists():
                read_checkpoint(out / f"{name}.safetensors")
        if (out / "history.jsonl").exists() and len((out / "history.jsonl").read_text().splitlines()) == 4:
            assert subprocess.run([*command, "--out", str(out), "--resume"], env=environment).returncode == 0
            assert same(out, tmp_path / "unbroken")
            shutil.rmtree(out)
    subprocess.run([*command, "--out", str(out), "--resume"], check=True, capture_output=True, env=environment)
    assert same(out, tmp_path / "unbroken")
    assert not [path for path in out.iterdir() if ".partial" in path.name or path.name == ".lock"]


def test_a_full_disk_while_training_loses_nothing(cli: Cli, config: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", config, "--out", out, "--set", "train.epochs=1").code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY));"
        "from greenedge.cli.main import run; sys.argv = ['greenedge', *sys.argv[1:]]; run()"
    )
    arguments = ["train", "--config", str(config), "--out", str(out), "--resume"]
    result = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    assert "Traceback" not in result.stderr
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert after["last.state.pt"] == before["last.state.pt"]
    assert after.keys() == before.keys()
    assert cli("train", "--config", config, "--out", out, "--resume").code == 0
    assert same(trained, out)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.path=nowhere", "nowhere: no prepared data set here; make one with"),
        ("data.calibration_per_class=12", "choose a smaller number"),
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
def test_a_config_that_cannot_be_used_is_one_sentence_and_leaves_nothing(
    cli: Cli, config: Path, tmp_path: Path, setting: str, words: str
) -> None:
    result = cli("train", "--config", config, "--out", tmp_path / "run", "--set", setting)
    assert result.code in (1, 2)
    assert words in result.sentence
    assert not (tmp_path / "run").exists()


def test_an_epoch_that_was_recorded_but_not_kept_counts_for_nothing(
    cli: Cli, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between history and state: the epoch is made again, and its first result is no best to beat."""
    out, config = tmp_path / "run", ["train", "--config", config, "--out", tmp_path / "run"]
    values = iter((0.5, 0.9, 0.6))
    monkeypatch.setattr("greenedge.workflows.train_epochs._accuracies", lambda _: (next(values),) * 3)
    assert cli(*config, "--set", "train.epochs=1").code == 0
    state = (out / "last.state.pt").read_bytes()
    assert cli(*config, "--resume").code == 0
    (out / "last.state.pt").write_bytes(state)
    assert cli(*config, "--resume").code == 0
    records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [(each["epoch"], each["accuracy"][0]) for each in records] == [(1, 0.5), (2, 0.6)]
    best = load_file(out / "best.safetensors")
    assert all(torch.equal(each, best[name]) for name, each in tensors(out).items())  # of the second attempt


def test_a_history_that_is_not_that_of_the_state_is_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli("train", "--config", config, "--out", out, "--set", "train.epochs=1").code == 0
    record = json.loads((out / "history.jsonl").read_text())
    (out / "history.jsonl").write_text(json.dumps({**record, "loss": record["loss"] + 1}) + "\n")
    result = cli("train", "--config", config, "--out", out, "--resume")
    assert result.code == 1
    assert "is not the record of the 1 epochs that are done" in result.sentence


def test_a_training_settles_what_would_make_two_runs_differ(
    cli: Cli, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[tuple[object, ...]] = []
    monkeypatch.setattr("greenedge.training.run.set_deterministic", lambda *given: settled.append(given))
    assert cli("train", "--config", config, "--out", tmp_path / "run", "--set", "train.epochs=1").code == 0
    assert settled == [(torch.device("cpu"), None)]


def test_trainings_can_begin_with_the_same_weights_and_differ_in_the_rest(tiny_config: Path, tmp_path: Path) -> None:
    def begun(*settings: str) -> Run:
        return build_run(read_config(tiny_config, settings), tmp_path, pretrained=False)

    def weights(run: Run) -> torch.Tensor:
        return torch.cat([each.flatten() for each in run.state.network.parameters()])

    first, other, alike = begun(), begun("train.seed=7"), begun("train.seed=7", "train.init_seed=0")
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(weights(first), weights(alike))
    assert (first.settings.seed, alike.settings.seed) == (0, 7)  # of order, augmentations and dropout
