"""Trainings that learn from other networks: their weights, or their predictions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from greenedge.api import load_checkpoint
from greenedge.training.checkpoint import is_checkpoint
from tests.cli.conftest import RECIPE, Cli
from tests.cli.helpers import changed_checkpoint, with_other_answers
from tests.conftest import write_image

BY_TEACHER = ["--set", "train.objective=teacher_distillation"]


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """A run directory with no more than the best weights, of a network that sees images of 32 px."""
    folder = tmp_path_factory.mktemp("teacher")
    shutil.copyfile(trained / "best.safetensors", folder / "best.safetensors")
    return folder


def test_a_teacher_changes_what_is_learnt_and_a_resumed_run_is_the_same(
    cli: Cli, tiny_config: Path, teacher: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--config", tiny_config, *BY_TEACHER, "--set", f"train.teacher={teacher}"]
    size = ["--set", "data.image_size=40"]  # the teacher sees each image at its own size
    assert cli(*arguments, *size, "--out", tmp_path / "whole").code == 0
    assert cli(*arguments, *size, "--out", tmp_path / "parts", "--set", "train.epochs=1").code == 0
    assert cli(*arguments, *size, "--out", tmp_path / "parts", "--resume").code == 0
    assert cli("train", "--config", tiny_config, *size, "--out", tmp_path / "alone").code == 0
    whole, parts, alone = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts", "alone"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert any(not torch.equal(whole[name], alone[name]) for name in whole)


def test_a_run_does_not_go_on_with_another_teacher(cli: Cli, tiny_config: Path, teacher: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "best.safetensors"
    other.parent.mkdir()
    shutil.copyfile(teacher / "best.safetensors", other)
    arguments = ["train", "--config", tiny_config, *BY_TEACHER, "--set", f"train.teacher={other}"]
    assert cli(*arguments, "--out", tmp_path / "run", "--set", "train.epochs=1").code == 0
    with_other_answers(teacher / "best.safetensors", other)
    result = cli(*arguments, "--out", tmp_path / "run", "--resume")
    assert result.code != 0
    assert "by another teacher" in result.sentence


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.objective=teacher_distillation"], "objective: teacher_distillation needs train.teacher"),
        (["train.teacher={teacher}"], "weighted_sum has no use for a teacher; set train.objective to teacher_"),
        (["train.objective=teacher_distillation", "train.teacher=missing"], "missing: no such checkpoint"),
        (["train.objective={{self_distillation: {{share: 2}}}}"], "share: "),
        (["train.objective={{weighted_sum: {{head_gradient: half}}}}"], "head_gradient: "),
        (["train.class_weights=rare"], "class_weights: "),
        (["train.class_weights=[1, 2]"], "train.class_weights: has 2 numbers, and the data set has 3 classes"),
        (["train.class_weights=[0, 0, 0]"], "class_weights: has no number above 0"),
    ],
)
def test_objectives_that_cannot_be_used_are_refused_in_one_sentence(
    cli: Cli, config: Path, teacher: Path, tmp_path: Path, settings: list[str], words: str
) -> None:
    chosen = [argument for each in settings for argument in ("--set", each.format(teacher=teacher))]
    result = cli("train", "--config", config, "--out", tmp_path / "run", *chosen)
    assert result.code == 2
    assert words in result.sentence
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_is_refused(cli: Cli, config: Path, teacher: Path, tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 2)):
        for name in ("cat", "dog", "eel"):
            for index in range(count):
                write_image(tmp_path / "pets" / split / name / f"{index}.png", seed=index)
    assert cli("data", "prepare", tmp_path / "pets", "--out", tmp_path / "data").code == 0
    settings = ["--set", f"train.teacher={teacher}", "--set", f"data.path={tmp_path / 'data'}"]
    result = cli("train", "--config", config, "--out", tmp_path / "run", *BY_TEACHER, *settings)
    assert result.code == 2
    assert "was trained on other classes" in result.sentence


def test_balanced_classes_are_weighted_alike(cli: Cli, tiny_config: Path, tmp_path: Path) -> None:
    weights = {"equal": "equal", "balanced": "balanced", "ones": "[1, 1, 1]", "uneven": "[1, 1, 4]"}
    for name, value in weights.items():
        settings = ["--set", f"train.class_weights={value}", "--set", "train.epochs=1"]
        assert cli("train", "--config", tiny_config, "--out", tmp_path / name, *settings).code == 0
    equal, balanced, ones, uneven = (load_file(tmp_path / name / "last.safetensors") for name in weights)
    assert all(torch.equal(equal[name], balanced[name]) and torch.equal(equal[name], ones[name]) for name in equal)
    assert not all(torch.equal(equal[name], uneven[name]) for name in equal)


def test_a_run_goes_on_from_another_ones_backbone_and_heads(cli: Cli, tmp_path: Path, prepared: Path) -> None:
    path = tmp_path / "first.yaml"
    recipe = RECIPE.format(data=prepared).replace("after: layer1, head: light", "after: layer1, head: pooled")
    path.write_text(recipe)
    assert cli("train", "--config", path, "--out", tmp_path / "first", "--set", "train.epochs=1").code == 0

    # At another size: the pooled head does not depend on it; the linear one is after another block.
    path.write_text(recipe.replace("layer3", "layer2").replace("image_size: 32", "image_size: 48"))
    frozen = ["--set", "train.epochs=1", "--set", "train.optimizer={sgd: {lr: 1e-30}}"]
    result = cli(
        *("train", "--config", path, "--out", tmp_path / "second", *frozen),
        *("--set", f"model.weights={tmp_path / 'first'}"),
    )
    assert result.code == 0, result.err
    assert "tensors of the backbone loaded; heads of exits layer1 loaded" in result.err
    before, after = (load_file(tmp_path / name / "best.safetensors") for name in ("first", "second"))
    same = {name for name in before if name.endswith("weight") and torch.equal(before[name], after[name])}
    assert {name for name in before if name.endswith("weight")} - same == {"heads.1.2.weight"}


def test_only_what_greenedge_wrote_is_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    assert is_checkpoint(trained / "best.safetensors")
    other = changed_checkpoint(trained / "best.safetensors", tmp_path / "other.safetensors")
    assert is_checkpoint(other)
    assert load_checkpoint(other).num_exits == 3
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pth")
    (tmp_path / "short").write_bytes(b"\x10\0\0")
    assert not is_checkpoint(tmp_path / "a.pth")
    assert not is_checkpoint(tmp_path / "short")
