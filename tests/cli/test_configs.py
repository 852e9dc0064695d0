"""Configs on the command line: their mistakes, their schema, and those that come with greenedge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.helpers import changed_checkpoint
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("command", ["train", "flops", "augment preview"])
def test_several_mistakes_are_one_line_each(cli: Cli, config: Path, tmp_path: Path, command: str) -> None:
    wrong = ["--set", "train.optimizer.lr=0", "--set", "augment.0=cutmax"]
    result = cli(*command.split(), "--config", config, "--out", tmp_path / "out.png", *wrong)
    assert (result.code, result.raw) == (2, "")
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
    printed = json.loads(cli("config", "schema").raw)
    assert printed["title"] == "greenedge config"
    result = cli("config", "schema", "--out", tmp_path / "schema.json")
    assert (result.code, result.raw) == (0, "")
    assert json.loads((tmp_path / "schema.json").read_text()) == printed
    assert result.err.splitlines()[-1] == f"# yaml-language-server: $schema={tmp_path / 'schema.json'}"


def test_shipped_configs_are_shown_and_copied(cli: Cli, tmp_path: Path) -> None:
    source = (REPOSITORY / "configs" / "quickstart.yaml").read_text()
    assert cli("configs", "show", "quickstart").raw == source
    result = cli("configs", "copy", "quickstart", "--out", tmp_path / "mine.yaml")
    assert (result.code, result.err) == (0, f"{tmp_path / 'mine.yaml'}: written\n")
    assert (tmp_path / "mine.yaml").read_text() == source
    again = cli("configs", "copy", "quickstart", "--out", tmp_path / "mine.yaml")
    assert (again.code, again.sentence.startswith(f"{tmp_path / 'mine.yaml'}: exists already")) == (2, True)
    assert cli("configs", "show", "quikstart").sentence == (
        "there is no shipped config 'quikstart'; did you mean 'quickstart'?"
    )


@pytest.mark.parametrize("command", ["train", "flops", "augment preview"])
def test_a_config_is_named_as_well_as_given_by_its_path(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*command.split(), "--config", "quickstart", "--out", "out.png", "--set", "train.epochs=0")
    assert (result.code, result.sentence) == (
        2,
        "--set train.epochs=0: train.epochs: expected a number at least 1, found 0",
    )
    unknown = cli(*command.split(), "--config", "quikstart", "--out", "out.png")
    assert (unknown.code, unknown.sentence) == (
        2,
        "quikstart: cannot be read: no such file, and no shipped config of that name; did you mean 'quickstart'?",
    )


def test_label_maps_that_come_with_greenedge_are_found_anywhere(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "n01443537" in cli("labels", "show", "labels_map.pkl").raw
    assert cli("labels", "show", "maps/labels_map.pkl").code == 1
