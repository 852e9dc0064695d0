from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from greenedge.data.originals import ORIGINALS
from greenedge.data.prepare import PrepareOptions, prepare
from tests.cli.conftest import Cli

FILES = {"lr-range.json", "lr-range.csv", "lr-range.png"}


def test_lr_range_leaves_a_run_as_it_is(cli: Cli, tiny_config: Path, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    result = cli("lr-range", "--config", tiny_config, "--steps", 10, "--out", run, "--json")
    assert result.code == 0
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert {name: content for name, content in after.items() if name not in FILES} == before
    assert set(after) == set(before) | FILES


def test_lr_range_says_what_to_set(
    cli: Cli, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--steps", 40, "--lowest", 1e-4, "--highest", 0.1, "--set", "augment=[]"]
    result = cli("lr-range", "--config", tiny_config, *arguments)
    assert result.code == 0
    out = tmp_path / "runs" / f"{tiny_config.stem}-lr-range"
    assert {path.name for path in out.iterdir()} == FILES
    found = json.loads((out / "lr-range.json").read_text())
    assert found["optimizer"] == "adam"
    assert f"--set train.optimizer.adam.lr={found['suggested']:.2g}; " in result.out
    rows = list(csv.DictReader((out / "lr-range.csv").read_text().splitlines()))
    assert [float(row["learning_rate"]) for row in rows] == found["rates"]
    assert [float(row["loss"]) for row in rows] == found["losses"]
    assert f" of {len(rows)} steps are shown; the CSV file has all" in result.out
    override = f"train.optimizer.adam.lr={found['suggested']:.2g}"  # as the sentence has it
    assert cli("flops", "--config", tiny_config, "--set", override).code == 0


def test_lr_range_sees_originals_as_training_does(cli: Cli, tiny_config: Path, official: Path, tmp_path: Path) -> None:
    prepare([official], tmp_path / "kept", PrepareOptions(size=32, store=ORIGINALS))
    first_losses = {}
    for kind in ("random", "centre"):
        given = ["--set", f"data.path={tmp_path / 'kept'}", "--set", f"data.training_crop={{kind: {kind}}}"]
        arguments = ["--config", tiny_config, "--steps", 10, "--out", tmp_path / kind, "--set", "augment=[]", *given]
        assert cli("lr-range", *arguments).code == 0
        first_losses[kind] = json.loads((tmp_path / kind / "lr-range.json").read_text())["losses"][0]
    assert first_losses["random"] != pytest.approx(first_losses["centre"], rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--lowest", "1", "--highest", "0.1"], "--lowest 1 must be above 0 and below --highest 0.1"),
        (["--steps", "3"], "--steps 3 are too few to see anything; give at least 10"),
        (
            ["--set", "train.kept_features=1", "--set", "model.weights=x", "--set", "augment=[]"],
            "train.kept_features: has no range test; set it to null",
        ),
    ],
)
def test_lr_range_refuses_what_it_cannot_do(
    cli: Cli, tiny_config: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    result = cli("lr-range", "--config", tiny_config, "--out", tmp_path / "out", *arguments)
    assert result.code == 2
    assert sentence in result.sentence
    assert not (tmp_path / "out").exists()
