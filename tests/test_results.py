"""`scripts/results`: every run of docs/results.md can be made again, and has its transcript there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.training.configs import read_config
from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "measured" / "make.py"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPT.with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


RUNS = loaded("run_table").RUNS


def make(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", RUNS)
def test_every_run_is_a_valid_config_with_a_transcript_that_is_shown(name: str) -> None:
    pytest.importorskip("timm")
    run = RUNS[name]
    config = read_config(Path(run.config), run.settings)
    assert run.after is None or run.after in RUNS
    transcript = (REPOSITORY / "docs" / "transcripts" / f"{name}.txt").read_text(encoding="utf-8")
    assert transcript.count("$ greenedge ") == len(run.commands)
    assert f"epoch {config.train.epochs};" in transcript.replace("\n  ", " ")
    for exit in config.model.exits:
        assert f"after {exit.after}" in transcript
    assert f"transcripts/{name}.txt" in (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_runs_are_listed_and_an_unknown_one_is_refused() -> None:
    listed = make("--list")
    assert [line.split()[0] for line in listed.stdout.splitlines()[2:]] == list(RUNS)
    refused = make("resnet18-lihgt")
    assert refused.returncode == 2
    assert refused.stderr == "error: name runs that --list shows, not resnet18-lihgt\n"


def outputs_of(correct: np.ndarray, gflops: Sequence[float]) -> ExitOutputs:
    """Exits that are right, and as sure, where `correct` (E, N) says so; everything is of class 0 of 2."""
    signs = np.where(correct, 1.0, -1.0)
    logits = np.stack([signs, -signs], axis=2) * np.where(correct, 3.0, 0.1)[..., None]
    return ExitOutputs(logits.astype(np.float32), np.zeros(correct.shape[1], dtype=np.int64), np.array(gflops))


@pytest.mark.parametrize(
    ("gflops", "expected"), [(0.5, 0.0), (1.0, 0.5), (2.0, 0.65), (2.5, 0.725), (3.0, 0.8), (9.0, 0.8)]
)
def test_the_hull_is_the_best_static_choice_or_a_mix_of_two(gflops: float, expected: float) -> None:
    costs, accuracies = (
        np.array([1.0, 2.0, 3.0]),
        np.array([0.5, 0.6, 0.8]),
    )  # the second lies below the other two's mix
    assert loaded("verdict")._hull(costs, accuracies, gflops) == pytest.approx(expected)


def test_a_policy_is_set_beside_the_hull_at_its_own_cost() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(2000) < 0.6, random.random(2000) < 0.9
    static = [outputs_of(first[None], [1.0]), outputs_of(second[None], [3.0])]
    shown = outputs_of(np.stack([first, second]), [1.0, 3.0])
    above_hull = loaded("verdict")._above_hull

    # An exit that is sure exactly where it is right: 60 % stop there, and 90 % of the others are right later.
    above, low, high = above_hull(shown, ExitPolicy("margin", (0.5,)), static)
    share = first.mean()
    expected = (first | second).mean() - (share * first.mean() + (1 - share) * second.mean())
    assert above == pytest.approx(expected, abs=1e-6)
    assert 0 < low < above < high

    # The control: by an exit's mood alone, which says nothing of the image, it is a random mix.
    mood = outputs_of(np.stack([first, second]), [1.0, 3.0])
    mood.logits[0] *= random.uniform(0.1, 3, 2000)[:, None] / np.abs(mood.logits[0]).max(axis=1, keepdims=True)
    _, low, high = above_hull(mood, ExitPolicy("margin", (0.5,)), static)
    assert low < 0 < high


@pytest.mark.slow
def test_a_run_is_made_with_the_one_it_starts_from(prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    small = ["data.image_size=32", "train.batch_size=10", "train.epochs=1", "data.calibration_per_class=2"]
    settings = [*small, "model.weights=null", "model.classifier=new"]
    arguments = ["--data", prepared, "--runs", tmp_path / "runs", "--docs", tmp_path / "docs"]
    found = make("lite0-96", *arguments, *(part for each in settings for part in ("--set", each)))
    assert found.returncode == 0, found.stderr
    assert [line for line in found.stdout.splitlines() if line.startswith("---")] == ["--- lite0-128", "--- lite0-96"]
    transcript = (tmp_path / "docs" / "transcripts" / "lite0-96.txt").read_text(encoding="utf-8")
    assert transcript.startswith("$ greenedge eval --weights ")
    assert "exit 6, after blocks.6.0" in transcript
    assert (tmp_path / "docs" / "figures" / "lite0-96-training.png").is_file()
