"""`scripts/study`: the networks of a question, trained and set side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "measured" / "study.py"
SMALL = ["model.backbone=timm/test_resnet", "data.image_size=32", "data.calibration_per_class=2"]
SHORT = ["train.batch_size=10", "train.epochs=1", "data.train_fraction=0.9"]


def study(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


def test_questions_are_named_and_others_refused() -> None:
    shown = study("--help").stdout
    for name in ("first-layers", "exit-position", "mixing", "stochastic-depth"):
        assert f"\n  {name}: what " in shown
    assert study("second-layers").returncode == 2


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


def test_a_training_that_fails_ends_the_study(tmp_path: Path) -> None:
    result = study("stochastic-depth", "--seeds", 0, "--data", tmp_path / "nowhere", "--runs", tmp_path)
    assert result.returncode == 1
    assert "nowhere: no prepared data set here" in result.stderr.splitlines()[-1]
