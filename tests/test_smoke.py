"""The command line from images to predictions, each step a process of its own: `scripts/test -m smoke`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REAL_IMAGES, REPOSITORY, needs_real_images, write_image

CLASSES, PER_CLASS = 3, 20
# Few steps on small images; what is shipped otherwise.
SETTINGS = ["data.image_size=32", "data.calibration_per_class=5", "train.epochs=1", "train.batch_size=15"]

pytestmark = pytest.mark.smoke


def greenedge(*arguments: object) -> str:
    """What a command prints to standard output; it must succeed."""
    command = [sys.executable, "-m", "greenedge", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, f"greenedge {' '.join(map(str, arguments))}\n{done.stderr}"
    return done.stdout


def generated(folder: Path) -> list[Path]:
    greenedge("data", "synth", "--out", folder, "--classes", CLASSES, "--per-class", PER_CLASS, "--val-per-class", 10)
    return [folder]


def real(_folder: Path) -> list[Path]:
    return [REAL_IMAGES / "train-0.zip", REAL_IMAGES / "val.zip"]


@pytest.mark.parametrize("source", [generated, pytest.param(real, marks=needs_real_images)])
def test_command_line_from_images_to_predictions(source: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    sources = source(tmp_path / "source")
    greenedge("data", "prepare", *sources, "--out", data, "--classes", CLASSES, "--per-class", PER_CLASS)

    config = REPOSITORY / "configs" / "quickstart.yaml"
    overrides = [word for setting in [f"data.path={data}", *SETTINGS] for word in ("--set", setting)]
    greenedge("train", "--config", config, *overrides, "--out", run)
    weights = ["--weights", run / "best.safetensors"]
    exits = len(json.loads((run / "history.jsonl").read_text())["accuracy"])

    evaluated = json.loads(greenedge("eval", *weights, "--json"))
    assert len(evaluated["exits"]) == exits
    assert 0 <= evaluated["accuracy"] <= 1

    swept = json.loads(greenedge("sweep", *weights, "--thresholds", "all", "--json"))
    assert max(point["gflops"] for point in swept["points"]) == pytest.approx(evaluated["exits"][-1]["gflops"])
    assert (run / "sweep.png").is_file()

    budget = evaluated["exits"][1]["gflops"]
    tuned = json.loads(greenedge("tune", *weights, "--budget", budget, "--json"))
    assert tuned["policies"][tuned["chosen"]]["chosen_on"]["gflops"] <= budget
    assert (run / "policy.json").is_file()

    greenedge("export", *weights, "--policy", run / "policy.json", "--format", "torch", "--out", tmp_path / "exported")
    assert (tmp_path / "exported" / "network.pt2").is_file()

    write_image(tmp_path / "photo.jpg", 3, size=(200, 160))
    predicted = greenedge("predict", *weights, tmp_path / "photo.jpg")
    assert "photo.jpg" in predicted
