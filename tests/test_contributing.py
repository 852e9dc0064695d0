"""CONTRIBUTING.md's examples, applied to a copy of the package and used through the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.archives import extract
from tests.conftest import REPOSITORY

FORMER_RUN = REPOSITORY / "tests" / "compatibility" / "former-run.tar.xz"

pytest.importorskip("timm")


def steps() -> list[tuple[str, str, str, str]]:
    """File, where in it (`above`, `in` or nothing), the line that begins so, and the code, of each example."""
    blocks = re.findall(r"```python\n# (.*?)\n(.*?)```", (REPOSITORY / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    found = []
    for head, code in blocks:
        file, _, place = head.partition(", ")
        where, _, line = place.partition(" ")
        found.append((file, where, line, code))
    return found


def follow(root: Path) -> None:
    """Does to a copy of the package what the examples say."""
    for file, where, line, code in steps():
        path = root / file
        if not where:
            assert not path.exists(), file
            path.write_text(code)
            continue
        lines = path.read_text().splitlines(keepends=True)
        (position,) = [number for number, each in enumerate(lines) if each.startswith(line)][:1]
        lines.insert(position + (where == "in"), code)
        path.write_text("".join(lines))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the examples in it, and a small run."""
    root = tmp_path_factory.mktemp("contributing")
    shutil.copytree(REPOSITORY / "greenedge", root / "greenedge", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    follow(root)
    extract(FORMER_RUN, root)
    return root


def greenedge(workplace: Path, *arguments: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(workplace), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "greenedge", *arguments]
    done = subprocess.run(command, cwd=workplace / "former-run", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def test_steps_are_about_a_loss_a_criterion_and_a_command() -> None:
    files = [file for file, *_ in steps()]
    assert {"greenedge/training/losses.py", "greenedge/exits/confidence.py", "greenedge/cli/main.py"} <= set(files)


def test_a_new_loss_trains(workplace: Path) -> None:
    assert "focal" in [each["name"] for each in greenedge(workplace, "list", "losses", "--json")]
    options = ["--set", "train.loss={focal: {gamma: 1.5}}", "--set", "data.path=data", "--set", "train.epochs=1"]
    options += ["--set", "model.weights=null", "--set", "train.freeze=[]"]
    greenedge(workplace, "train", "--config", "finished/config.yaml", "--out", "focal", *options)
    assert "gamma: 1.5" in (workplace / "former-run" / "focal" / "config.yaml").read_text()


def test_a_new_criterion_is_swept_tuned_and_evaluated(workplace: Path) -> None:
    weights = ("--weights", "finished/last.safetensors", "--criterion", "gini", "--json")
    curve = greenedge(workplace, "sweep", *weights, "--thresholds", "all")
    point = curve["points"][len(curve["points"]) // 2]
    evaluated = greenedge(workplace, "eval", *weights, "--threshold", str(point["thresholds"][0]))
    assert (evaluated["accuracy"], evaluated["exit_shares"]) == (point["accuracy"], point["exit_shares"])
    tuned = greenedge(workplace, "tune", *weights, "--budget", "0.00205")
    assert tuned["policies"]["per-exit"]["criterion"] == "gini"


def test_a_new_command_is_listed_and_works(workplace: Path) -> None:
    assert "classes" in greenedge(workplace, "--help")
    assert len(greenedge(workplace, "classes", "data", "--json")["classes"]) == 3
    assert "name" in greenedge(workplace, "classes", "data").splitlines()[0]
