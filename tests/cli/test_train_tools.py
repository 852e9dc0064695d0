"""Early stopping, the plateau schedule and the average of the last epochs, as a user meets them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from greenedge.training.configs import read_config
from greenedge.training.history import ends_early, mean_accuracy, read_history
from greenedge.training.schedules import plateau
from tests.cli.conftest import Cli


def test_early_stopping_and_plateau_are_exact_when_resumed(cli: Cli, tiny_config: Path, tmp_path: Path) -> None:
    stopping = "train.early_stopping={patience: 2, min_delta: 0.05}"
    schedule = "train.schedule={plateau: {patience: 0, factor: 0.5, min_delta: 0.05}}"
    base = ["train", "--config", tiny_config, "--set", stopping, "--set", schedule]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first = cli(*base, "--set", "train.epochs=30", "--out", whole)
    assert first.code == 0
    assert "the calibration accuracy has not risen for 2 epochs: the training ends early" in first.err
    history = read_history(whole / "history.jsonl")
    stopped = read_config(whole / "config.yaml").train.early_stopping
    assert [ends_early(history[:done], stopped) for done in range(len(history) + 1)] == [False] * len(history) + [True]
    accuracies = [mean_accuracy(each) for each in history]
    for epoch, record in enumerate(history):
        rate = plateau(0.0, 0.001, accuracies[:epoch], factor=0.5, patience=0, min_delta=0.05)
        assert record.learning_rate == pytest.approx(rate)
    assert history[-1].learning_rate < 0.001

    assert cli(*base, "--set", f"train.epochs={len(history) - 1}", "--out", broken).code == 0
    again = cli("train", "--out", broken, "--resume", "--set", "train.epochs=30")
    assert again.code == 0
    assert "schedule is stretched" not in again.err
    ours, theirs = (load_file(each / "last.safetensors") for each in (whole, broken))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert len(read_history(broken / "history.jsonl")) == len(history)

    # A run that has ended early is done, also without its state; another patience lets it go on.
    assert cli("train", "--out", whole, "--resume").code == 0
    assert len(read_history(whole / "history.jsonl")) == len(history)
    more = cli("train", "--out", whole, "--resume", "--set", "train.early_stopping.patience=3")
    assert more.code == 0
    assert len(read_history(whole / "history.jsonl")) > len(history)
    (broken / "last.state.pt").unlink()
    assert cli("train", "--out", broken, "--resume").code == 0


def test_average_last_is_what_is_kept(cli: Cli, tiny_config: Path, tmp_path: Path) -> None:
    run = tmp_path / "averaged"
    setting = ["--set", "train.epochs=3", "--set", "train.average_last=2"]
    assert cli("train", "--config", tiny_config, *setting, "--out", run).code == 0
    kept, state = load_file(run / "last.safetensors"), torch.load(run / "last.state.pt", weights_only=True)
    assert int(state["averaged"]["n_averaged"]) == 2
    for name, tensor in state["network"].items():
        assert torch.equal(kept[name], state["averaged"][f"module.{name}"])
        assert not tensor.is_floating_point() or not torch.equal(kept[name], tensor)
    longer = cli("train", "--out", run, "--resume", "--set", "train.epochs=4")
    assert longer.code == 0
    assert "note: the average of the last 2 epochs is begun anew" in longer.err


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            ["train.early_stopping={patience: 2}", "data.calibration_per_class=0"],
            "train.early_stopping: goes by the calibration images, and data sets none aside; raise data.calibration_",
        ),
        (
            ["train.schedule=plateau", "data.calibration_per_class=0"],
            "train.schedule: goes by the calibration images, and data sets none aside; raise data.calibration_",
        ),
        (
            ["train.precision=fp16", "train.device=cpu"],
            "train.precision: fp16 is for GPUs, and the training runs on cpu; use auto, bf16 or float32",
        ),
        (["train.average_last=1"], "train.average_last: expected a number at least 2"),
        (["train.average_last=3"], "train.average_last: is 3, and there are 2 epochs; give no more than these"),
        (
            ["train.average_last=2", "train.ema_decay=0.9"],
            "train.average_last: and ema_decay are both given; the weights are averaged in one way only",
        ),
        (
            ["train.average_last=2", "train.early_stopping={patience: 2}"],
            "train.average_last: is of the last of train.epochs, which early_stopping may not reach",
        ),
        (["train.early_stopping={}"], "train.early_stopping"),
        (["train.layer_decay=0"], "train.layer_decay: expected a number at most 1 and above 0"),
        (
            ["train.layer_decay=0.5", "train.kept_features=1", "model.weights=runs/x"],
            "train.layer_decay: is of the backbone's rates, which kept_features does not train",
        ),
    ],
)
def test_tools_that_cannot_work_are_refused(
    cli: Cli, tiny_config: Path, tmp_path: Path, changes: list[str], sentence: str
) -> None:
    overrides = [word for change in changes for word in ("--set", change)]
    result = cli("train", "--config", tiny_config, "--out", tmp_path / "run", *overrides)
    assert result.code == 2
    assert sentence in result.sentence
    assert not (tmp_path / "run").exists()
