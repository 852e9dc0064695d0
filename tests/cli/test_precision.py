"""What a network says in bf16: kept beside what it says in float32, and named in every result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli


@pytest.fixture
def run(weights: Path, tmp_path: Path) -> Path:
    """A run directory with weights alone."""
    (tmp_path / "run").mkdir()
    shutil.copy(weights, tmp_path / "run")
    return tmp_path / "run"


def test_answers_in_bf16_are_near_those_in_float32_and_kept_beside_them(cli: Cli, run: Path) -> None:
    exact = cli("eval", "--weights", run / "best.safetensors", "--json")
    near = cli("eval", "--weights", run / "best.safetensors", "--precision", "bf16", "--json")
    assert (exact.code, near.code) == (0, 0)
    assert json.loads(exact.out)["precision"] == "float32"
    assert json.loads(near.out)["precision"] == "bf16"
    kept = [np.load(run / name)["logits"] for name in ("outputs-val.npz", "outputs-val-bf16.npz")]
    difference = np.abs(kept[0] - kept[1]).max()
    assert 0 < difference < 0.1 * np.abs(kept[0]).max()
    again = cli("eval", "--weights", run / "best.safetensors", "--precision", "bf16")
    assert "outputs-val-bf16.npz: outputs of these weights on these images are kept there" in again.err
    assert "val: 15 images in bf16" in again.out


def test_a_curve_and_a_policy_say_in_which_precision_they_were_found(cli: Cli, run: Path) -> None:
    swept = json.loads(cli("sweep", "--weights", run / "best.safetensors", "--precision", "bf16", "--json").out)
    assert swept["precision"] == "bf16"
    options = ("--budget", "1", "--choose-on", "val", "--precision", "bf16", "--json")
    assert cli("tune", "--weights", run / "best.safetensors", *options).code == 0
    assert json.loads((run / "policy.json").read_text())["chosen"]["precision"] == "bf16"
    assert json.loads((run / "policy-tuning.json").read_text())["precision"] == "bf16"


def test_an_unknown_precision_is_one_sentence(cli: Cli, run: Path) -> None:
    result = cli("eval", "--weights", run / "best.safetensors", "--precision", "int8")
    assert result.code != 0
    assert "'int8' is not one of 'auto', 'float32', 'bf16'" in result.err


def test_diagnose_and_compare_run_in_the_precision_that_is_asked_for(cli: Cli, weights: Path, tmp_path: Path) -> None:
    assert cli("diagnose", "--weights", weights, "--precision", "bf16").code == 0
    assert {"outputs-val-bf16.npz", "outputs-calibration-bf16.npz"} < {path.name for path in weights.parent.iterdir()}
    assert not (weights.parent / "outputs-val.npz").exists()
    other = tmp_path / "other" / "best.safetensors"
    other.parent.mkdir()
    other.write_bytes(weights.read_bytes())
    result = cli("compare", weights, other, "--precision", "bf16", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert (other.parent / "outputs-val-bf16.npz").exists()
