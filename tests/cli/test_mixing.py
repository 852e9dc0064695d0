"""`greenedge train` with mixing that learns, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.cli.conftest import Cli
from tests.cli.test_train_processes import finish, records, same, start


@pytest.mark.parametrize("name", ["automix", "samix"])
def test_a_training_that_mixes_can_be_looked_at_and_continued(
    cli: Cli, tiny_config: Path, tmp_path: Path, name: str
) -> None:
    common = ["train", "--config", tiny_config, "--set", f"augment=[horizontal_flip, {name}]"]
    assert cli(*common, "--out", tmp_path / "run", "--set", "train.epochs=1").code == 0
    assert [each["train_labels"] for each in records(tmp_path / "run")] == ["dominant"]
    state = torch.load(tmp_path / "run" / "last.state.pt", weights_only=True)
    assert "block.compare.weight" in state["mixing"]
    with Image.open(tmp_path / "run" / "mixing.png") as figure:
        assert figure.width > figure.height > 300
    continued = cli("train", "--resume", "--out", tmp_path / "run", "--set", "train.epochs=2")
    assert continued.code == 0
    assert "resuming after epoch 1" in continued.err
    assert "the loss of the masks now fades out over 2 epochs" in continued.err
    assert cli("eval", "--weights", tmp_path / "run" / "best.safetensors").code == 0


@pytest.mark.slow
def test_two_processes_mix_what_one_mixes_in_two_parts(tiny_config: Path, tmp_path: Path) -> None:
    common = ["--config", tiny_config, "--set", "augment=[horizontal_flip, automix]"]
    for name, options in {"together": ["--processes", 2], "in-parts": ["--set", "train.accumulate=2"]}.items():
        code, err = finish(start(*common, *options, "--out", tmp_path / name))
        assert code == 0, err
    assert same(tmp_path / "together", tmp_path / "in-parts")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["augment=[{automix: {after: layer9}}]"], "augment.0.automix.after: there is no block 'layer9'"),
        (["augment=[{automix: {after: layer4}}]"], "augment.0.automix.after: the features after 'layer4"),
        (
            ["augment=[automix]", "train.exit_weights=[1, 1, 0]"],
            "train.exit_weights: the final exit's is 0, and automix",
        ),
        (["augment=[samix]", "train.kept_features=1", "model.weights=RUN"], "augment.0: samix mixes images, and kept"),
    ],
)
def test_what_cannot_mix_is_one_sentence(
    cli: Cli, config: Path, trained: Path, tmp_path: Path, settings: list[str], words: str
) -> None:
    options = [each for setting in settings for each in ("--set", setting.replace("RUN", str(trained)))]
    result = cli("train", "--config", config, "--out", tmp_path / "run", *options)
    assert result.code == 2
    assert words in result.sentence
    assert not (tmp_path / "run").exists()


def test_there_is_nothing_to_preview_of_masks_that_are_not_learned_yet(cli: Cli, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    result = cli("augment", "preview", "--config", config, "--out", out, "--set", "augment=[cutout, samix]")
    assert result.code == 2
    assert "augment.1.samix: learns its masks while a network is trained" in result.sentence
    assert not out.exists()
