"""Files that an earlier version wrote go on being read, and say the same; `make_former_run.py` made them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenedge.errors import DataError
from greenedge.training.trained import load_model
from tests.archives import extract
from tests.cli.conftest import Cli, cli

__all__ = ["cli"]  # a fixture

ARCHIVE = Path(__file__).with_name("former-run.tar.xz")

pytest.importorskip("timm")


@pytest.fixture
def former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The former files, in the current directory, as their relative paths want it."""
    extract(ARCHIVE, tmp_path)
    monkeypatch.chdir(tmp_path / "former-run")
    return tmp_path / "former-run"


def reported(cli: Cli, *arguments: object) -> dict[str, Any]:
    result = cli(*arguments, "--json")
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


def same(found: Any, expected: Any) -> None:
    """Every key and number of a former result stands in the new one."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    else:
        assert found == expected


@pytest.mark.parametrize("kept", [True, False])
def test_eval_and_sweep_say_what_they_said(cli: Cli, former: Path, kept: bool) -> None:
    weights = former / "finished" / "last.safetensors"
    if not kept:
        (former / "finished" / "outputs-val.npz").unlink()
    thresholds = ("--criterion", "margin", "--thresholds", "0.2,0.15")
    expected = {name: json.loads((former / "finished" / f"{name}.json").read_text()) for name in ("eval-val", "sweep")}
    result = cli("eval", "--weights", weights, *thresholds, "--json")
    assert ("the network need not run" in result.err) == kept
    same(json.loads(result.out), expected["eval-val"])
    same(reported(cli, "sweep", "--weights", weights), expected["sweep"])


def test_a_policy_is_taken_and_chosen_again(cli: Cli, former: Path) -> None:
    weights, policy = former / "finished" / "last.safetensors", former / "finished" / "policy.json"
    expected = json.loads((former / "finished" / "eval-policy.json").read_text())
    same(reported(cli, "eval", "--weights", weights, "--policy", policy), expected)
    tuning = json.loads((former / "finished" / "policy-tuning.json").read_text())
    same(reported(cli, "tune", "--weights", weights, "--budget", 0.00205, "--out", former / "new.json"), tuning)
    before, after = json.loads(policy.read_text()), json.loads((former / "new.json").read_text())
    same(after, {key: value for key, value in before.items() if key != "digest"})


def test_an_interrupted_run_ends_in_the_weights_of_the_finished_one(cli: Cli, former: Path) -> None:
    result = cli("train", "--resume", "--out", "interrupted", "--set", "train.epochs=2")
    assert result.code == 0, result.err
    network, expected = (load_model(former / name / "last.safetensors").network for name in ("interrupted", "finished"))
    for (name, tensor), other in zip(network.state_dict().items(), expected.state_dict().values(), strict=True):
        np.testing.assert_allclose(tensor.numpy(), other.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    histories = [(former / name / "history.jsonl").read_text().splitlines() for name in ("interrupted", "finished")]
    for line, other_line in zip(*histories, strict=True):
        found, wanted = json.loads(line), json.loads(other_line)
        assert found.keys() == wanted.keys()
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-4)


def test_an_export_runs_with_its_own_runner_and_the_present_one_says_that_it_is_not_its(former: Path) -> None:
    pytest.importorskip("onnxruntime")
    from greenedge.inference import manifest, onnx_runner

    assert manifest.is_export(former / "exported")
    command = [sys.executable, "exported/runner.py", "exported", "images.npy"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == (former / "runner.txt").read_text()

    command[1] = onnx_runner.__file__  # whose folders have other keys: it says so, in a line
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert "is not of greenedge-export/2, which this runner knows; export again, or use its own" in result.stderr
    with pytest.raises(DataError, match=r"was written by another version of greenedge \(greenedge-export/1\)"):
        manifest.read_manifest(former / "exported")
