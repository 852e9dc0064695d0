"""`scripts/results`: every run of docs/results.md can be made again, and has its transcript there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from greenedge.training.configs import read_config
from tests.conftest import REPOSITORY
from tests.scripts import load_script

SCRIPT = REPOSITORY / "scripts" / "measured" / "make.py"


TABLE = load_script(SCRIPT.with_name("run_table.py"))
RUNS, CASCADES = TABLE.RUNS, TABLE.CASCADES


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
    assert [line.split()[0] for line in listed.stdout.splitlines()[2:]] == [*RUNS, *CASCADES]
    refused = make("resnet18-lihgt")
    assert refused.returncode == 2
    assert refused.stderr == "error: name runs that --list shows, not resnet18-lihgt\n"


@pytest.mark.parametrize("name", CASCADES)
def test_every_cascade_is_of_runs_and_has_a_transcript_that_is_shown(name: str) -> None:
    cascade = CASCADES[name]
    assert set(cascade.runs) <= set(RUNS)
    transcript = (REPOSITORY / "docs" / "transcripts" / f"{name}.txt").read_text(encoding="utf-8")
    assert transcript.count("$ greenedge ") == len(cascade.commands)
    assert "against the static family" in transcript.replace("\n  ", " ")
    assert f"transcripts/{name}.txt" in (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")


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
