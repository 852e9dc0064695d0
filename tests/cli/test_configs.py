"""Configs on the command line: their mistakes, their schema, and those that come with greenedge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.helpers import changed_checkpoint


@pytest.mark.parametrize("command", ["train", "flops", "augment preview"])
def test_several_mistakes_are_one_line_each(cli: Cli, config: Path, tmp_path: Path, command: str) -> None:
    wrong = ["--set", "train.optimizer.lr=0", "--set", "augment.0=cutmax"]
    result = cli(*command.split(), "--config", config, "--out", tmp_path / "out.png", *wrong)
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [
        f"error: 2 mistakes in {config}:",
        "  --set augment.0=cutmax: augment.0: there is no 'cutmax'; did you mean 'cutmix'?",
        "  --set train.optimizer.lr=0: train.optimizer.adam.lr: expected a number above 0, found 0",
    ]


def test_the_components_of_a_checkpoints_config_are_checked(cli: Cli, weights: Path, tmp_path: Path) -> None:
    changed = changed_checkpoint(
        weights, tmp_path / "changed.safetensors", config=lambda text: text.replace("adam:", "adan:")
    )
    result = cli("eval", "--weights", changed)
    assert result.code == 1
    assert result.sentence.startswith(f"{changed}: its config does not fit this version of greenedge (")
    assert result.sentence.endswith("train.optimizer: there is no 'adan'; did you mean 'adam'?)")


def test_the_schema_is_printed_or_written(cli: Cli, tmp_path: Path) -> None:
    printed = json.loads(cli("config", "schema").out)
    assert printed["title"] == "greenedge config"
    result = cli("config", "schema", "--out", tmp_path / "schema.json")
    assert (result.code, result.out) == (0, "")
    assert json.loads((tmp_path / "schema.json").read_text()) == printed
    assert result.err.splitlines()[-1] == f"# yaml-language-server: $schema={tmp_path / 'schema.json'}"
