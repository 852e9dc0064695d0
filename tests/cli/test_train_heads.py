"""`greenedge train` with `train.kept_features`: heads on a frozen backbone, as ordinary runs and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from greenedge.api import load_checkpoint
from greenedge.training import feature_pass
from greenedge.training.trained import load_model
from tests.cli.conftest import RECIPE, Cli

TINY = RECIPE.replace("backbone: resnet18", "backbone: timm/test_resnet")
NEW_EXITS = "model.exits=[{after: layer1, head: pooled}, {after: layer2, head: linear}]"
KEPT = ["--set", NEW_EXITS, "--set", "train.kept_features=1", "--set", "augment=[horizontal_flip]"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A finished run whose backbone is good enough to freeze."""
    from greenedge.workflows.train import train

    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("base")
    (folder / "base.yaml").write_text(TINY.format(data=prepared))
    train(folder / "base.yaml", [], folder / "run")
    return folder / "run"


def test_heads_are_trained_and_the_final_exit_gives_the_same_bits(
    cli: Cli, tiny_config: Path, base: Path, tmp_path: Path
) -> None:
    arguments = ["--config", tiny_config, *KEPT, "--set", f"model.weights={base}"]
    result = cli("train", *arguments, "--out", tmp_path / "heads")
    assert result.code == 0, result.err
    assert "features of 30 train images are kept in" in result.err
    assert not (tmp_path / "heads" / "features").exists()

    former, ours = load_file(base / "best.safetensors"), load_file(tmp_path / "heads" / "last.safetensors")
    backbone = [name for name in former if name.startswith("backbone.")]
    assert backbone
    assert all(torch.equal(former[name], ours[name]) for name in backbone)
    images = torch.rand(4, 3, 32, 32)
    networks = (load_model(base / "best.safetensors").network, load_model(tmp_path / "heads/last.safetensors").network)
    with torch.no_grad():
        first, second = (network(images)[-1] for network in networks)
    assert torch.equal(first, second)

    assert cli("eval", "--weights", tmp_path / "heads" / "best.safetensors").code == 0
    records = [json.loads(line) for line in (tmp_path / "heads" / "history.jsonl").read_text().splitlines()]
    assert len(records) == 2
    assert all(len(record["accuracy"]) == 3 for record in records)
    assert records[0]["accuracy"][-1] == records[1]["accuracy"][-1]


def test_a_training_of_heads_is_resumed_to_the_same_bits(
    cli: Cli, tiny_config: Path, base: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--config", tiny_config, *KEPT, "--set", f"model.weights={base}"]
    arguments += ["--set", "train.ema_decay=0.9"]
    assert cli(*arguments, "--out", tmp_path / "whole").code == 0
    assert cli(*arguments, "--out", tmp_path / "parts", "--set", "train.epochs=1").code == 0
    assert cli(*arguments, "--out", tmp_path / "parts", "--resume").code == 0
    whole, parts = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_pass_that_is_interrupted_leaves_a_run_that_can_be_resumed(
    cli: Cli, tiny_config: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["train", "--config", tiny_config, *KEPT, "--set", f"model.weights={base}", "--out", tmp_path / "run"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feature_pass, "_check_finite", killed)
        assert cli(*arguments).code == 130
    assert not (tmp_path / "run" / "features" / "train").exists()
    assert cli(*arguments, "--resume").code == 0


def test_kept_features_learn_from_a_teacher(cli: Cli, tiny_config: Path, base: Path, tmp_path: Path) -> None:
    arguments = ["train", "--config", tiny_config, *KEPT, "--set", f"model.weights={base}"]
    taught = ["--set", "train.objective=teacher_distillation", "--set", f"train.teacher={base}"]
    assert cli(*arguments, *taught, "--out", tmp_path / "taught").code == 0
    assert cli(*arguments, "--out", tmp_path / "alone").code == 0
    heads = [load_checkpoint(tmp_path / name / "last.safetensors").network.heads for name in ("taught", "alone")]
    taught_weight, alone_weight = (np.asarray(each[1][-1].weight.detach()) for each in heads)
    assert not np.array_equal(taught_weight, alone_weight)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["model.weights=null"], "train.kept_features: keeps a backbone as it is, and model.weights is null"),
        (["model.exits=[]"], "train.kept_features: trains the heads of early exits alone, and there are none"),
        (["train.exit_weights=[0, 0, 1]"], "and there are none whose loss counts"),
        (["train.freeze=[{until: layer1, epochs: 1}]"], "train.freeze: says how the backbone is trained"),
        (["train.trunk_only_epochs=1"], "train.trunk_only_epochs: says how the backbone is trained"),
        (["train.kept_features=2", "augment=[]"], "is 2, and without augment all views of an image are the same"),
        (["augment=[horizontal_flip, mixup]"], "augment.1: mixup mixes images, and kept features would always be"),
        (["augment=[{cutmix: {probability: 0.1}}]"], "augment.0: cutmix mixes images"),
        (["train.kept_features=0"], "train.kept_features: expected"),
    ],
)
def test_what_contradicts_kept_features_is_refused(
    cli: Cli, tiny_config: Path, base: Path, tmp_path: Path, changes: list[str], words: str
) -> None:
    options = [text for change in changes for text in ("--set", change)]
    out = tmp_path / "run"
    result = cli("train", "--config", tiny_config, *KEPT, "--set", f"model.weights={base}", *options, "--out", out)
    assert result.code == 2
    assert words in result.sentence
    assert not out.exists()


def test_a_classifier_that_would_stay_random_is_refused(
    cli: Cli, tiny_config: Path, base: Path, tmp_path: Path
) -> None:
    tensors = load_file(base / "best.safetensors")
    backbone = {name.removeprefix("backbone."): each for name, each in tensors.items() if name.startswith("backbone.")}
    torch.save({name: each for name, each in backbone.items() if not name.startswith("fc.")}, tmp_path / "no-fc.pth")
    weights = f"model.weights={tmp_path / 'no-fc.pth'}"
    result = cli("train", "--config", tiny_config, *KEPT, "--set", weights, "--out", tmp_path / "run")
    assert result.code == 2
    assert "nothing in it fits fc." in result.sentence
    assert "which train.kept_features would leave random" in result.sentence
