"""`scripts/study`: the networks of a question, trained and set side by side."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from greenedge.data.prepare import prepare
from greenedge.data.synth import SynthOptions, synthesize
from greenedge.training.configs import read_config
from tests.conftest import REPOSITORY
from tests.scripts import load_script

SCRIPT = REPOSITORY / "scripts" / "measured" / "study.py"
TABLE = load_script(SCRIPT.with_name("study_table.py"))
SMALL = ["model.backbone=timm/test_resnet", "data.image_size=32", "data.calibration_per_class=2"]
SHORT = ["train.batch_size=10", "train.epochs=1", "data.train_fraction=0.9"]


def study(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


def test_questions_are_named_and_others_refused() -> None:
    shown = study("--help").stdout
    for name in ("first-layers", "exit-position", "mixing", "super-convergence", "stochastic-depth"):
        assert f"\n  {name}: what " in shown
    assert study("second-layers").returncode == 2


@pytest.mark.parametrize("name", TABLE.STUDIES)
def test_every_run_is_a_valid_config_of_both_sizes(name: str) -> None:
    study = TABLE.STUDIES[name]
    for run in study.runs.values():
        own = [each.replace("SEED", "1") for each in run]
        large = read_config(Path(study.config), [*study.settings, *own])
        small = read_config(Path(study.config), [*study.settings, *TABLE.SMALL, *study.small, *own])
        assert (small.data.image_size, small.train.batch_size, small.data.train_fraction) == (32, 64, 1)
        assert (small.model, small.train.epochs, small.train.seed) == (
            large.model,
            large.train.epochs,
            large.train.seed,
        )
        assert small.augment == large.augment


@pytest.mark.slow
def test_ways_of_mixing_are_trained_and_set_side_by_side(prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    settings = [argument for each in (*SMALL, *SHORT) for argument in ("--set", each)]
    arguments = ["mixing", "--seeds", 0, "--data", prepared, "--runs", tmp_path, *settings]
    result = study(*arguments)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:8]] == ["none", "mixup", "cutmix", "resizemix", "automix", "samix"]
    assert all(len(line.split()) == 1 + 4 for line in lines[2:8])  # an accuracy for each exit
    with Image.open(tmp_path / "mixing" / "mixing.png") as figure:
        assert figure.height > 500  # two images and six rows of what was made of them


@pytest.mark.slow
def test_an_exits_place_is_set_beside_a_probe_of_its_block(tmp_path: Path) -> None:
    synthesize(tmp_path / "source", SynthOptions(classes=3, per_class=90, val_per_class=4))
    prepare([tmp_path / "source"], tmp_path / "data")
    enough = ["data.image_size=32", "data.calibration_per_class=70"]  # place takes no fewer than 200
    settings = [argument for each in (*SHORT, *enough) for argument in ("--set", each)]
    common = ["exit-position", "--seeds", 0, "--data", tmp_path / "data", "--runs", tmp_path, *settings]
    result = study(*common, "--only", "layer2.0")
    assert result.returncode == 0, result.stderr
    header, _, none, placed = result.stdout.splitlines()[-4:]
    assert header.split()[:2] == ["exit", "after"]
    assert none.split()[0] == "none"
    name, probe, early, final, change = placed.split()
    assert name == "layer2.0"
    assert float(change) == pytest.approx(float(final) - float(none.split()[1]), abs=0.011)
    for value, row in ((early, 0), (final, 1)):
        accuracy = json.loads((tmp_path / "one-exit" / "layer2.0-0" / "history.jsonl").read_text())["accuracy"][row]
        assert float(value) == pytest.approx(100 * accuracy, abs=0.005)
    blocks = json.loads((tmp_path / "one-exit" / "plain-0" / "place.json").read_text())["blocks"]
    assert float(probe) == pytest.approx(100 * next(b["accuracy"] for b in blocks if b["after"] == name), abs=0.005)
    assert study(*common, "--only", "layer9.0").returncode == 1


def test_a_training_that_fails_ends_the_study(tmp_path: Path) -> None:
    result = study("stochastic-depth", "--seeds", 0, "--data", tmp_path / "nowhere", "--runs", tmp_path)
    assert result.returncode == 1
    assert "nowhere: no prepared data set here" in result.stderr.splitlines()[-1]
