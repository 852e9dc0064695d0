"""The wheel as a user installs it: configs and label maps travel in it and are found from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytest.importorskip("hatchling")

SHORTER = ["train.epochs=1", "data.image_size=16", "data.calibration_per_class=2", "model.exits=[{after: layer2}]"]


@pytest.fixture(scope="module")
def greenedge(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a fresh environment that has the wheel, and borrows everything else from this one."""
    folder = tmp_path_factory.mktemp("installed")
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1"}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")],
        cwd=REPOSITORY,
        env=environment,
        check=True,
        capture_output=True,
    )
    (wheel,) = (folder / "dist").glob("*.whl")

    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = ["-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, *site], env=environment, check=True)
    return [str(python), "-m", "greenedge"]


def run(command: list[str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command with the libraries of this environment, but not its greenedge."""
    libraries = [path for path in sys.path if path and Path(path).resolve() != REPOSITORY]
    # Behind the environment's own packages, so that the wheel is what is imported.
    script = f"import sys, runpy; sys.path += {libraries!r}; runpy.run_module('greenedge', run_name='__main__')"
    done = subprocess.run(
        [command[0], "-c", script, *arguments],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_wheel_holds_configs_and_label_maps(greenedge: list[str], tmp_path: Path) -> None:
    listed = json.loads(run(greenedge, "list", "configs", "--json", cwd=tmp_path).stdout)
    assert "paper/table1-plain" in [config["name"] for config in listed]
    installed = Path(greenedge[0]).parents[1]
    assert all(Path(config["path"]).is_relative_to(installed) for config in listed)
    shown = run(greenedge, "configs", "show", "quickstart", cwd=tmp_path).stdout
    assert shown == (REPOSITORY / "configs" / "quickstart.yaml").read_text()
    for name in ("labels_map.pkl", "deeplake_labels_map.pkl"):
        assert "n01443537" in run(greenedge, "labels", "show", name, cwd=tmp_path).stdout


@pytest.mark.slow
def test_wheel_trains_a_shipped_config_outside_the_repository(greenedge: list[str], tmp_path: Path) -> None:
    source = ["--out", "source", "--classes", "3", "--per-class", "12", "--val-per-class", "4"]
    run(greenedge, "data", "synth", *source, cwd=tmp_path)
    run(greenedge, "data", "prepare", "source", "--out", "data/quickstart", cwd=tmp_path)
    overrides = [argument for each in SHORTER for argument in ("--set", each)]
    run(greenedge, "train", "--config", "quickstart", *overrides, cwd=tmp_path)
    assert (tmp_path / "runs" / "quickstart" / "best.safetensors").is_file()
