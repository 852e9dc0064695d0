"""Commands that are killed at any moment: nothing half-made is taken for whole, and the same command then succeeds."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.label_maps import LABELS_MAP, read_labels_map, read_reverse_map
from greenedge.data.prepared import check_images
from greenedge.workflows.train import train
from tests.conftest import REPOSITORY, write_image, write_official_layout
from tests.data.server import serve

KILLS = int(os.environ.get("GREENEDGE_KILLS", "3"))  # of each command


@dataclass(frozen=True)
class Killed:
    """A command that is killed.

    Attributes:
        arguments: of the command.
        made: what it makes, a file or a folder.
        whole: raises where what was made cannot be used.
    """

    arguments: tuple[str, ...]
    made: Path
    whole: Callable[[Path], object]


def run(arguments: tuple[str, ...], kill_after: float | None = None) -> tuple[int, float]:
    """Its exit code and seconds."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "greenedge", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
    )
    if kill_after is not None:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    process.wait()
    return process.returncode, time.monotonic() - started


def content(path: Path) -> dict[str, str]:
    """Every file below, by its digest, but for what differs from run to run."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files if each.suffix != ".pt2"}


def survives(command: Killed, seed: int) -> None:
    _, seconds = run(command.arguments)
    expected = content(command.made)
    random = np.random.default_rng(seed)
    for number in range(KILLS):
        if number % 2 == 0:  # into nothing, and over what is there
            shutil.rmtree(command.made) if command.made.is_dir() else command.made.unlink(missing_ok=True)
        run(command.arguments, kill_after=float(random.uniform(0, 1.1 * seconds)))
        if command.made.exists():
            command.whole(command.made)
        code, _ = run(command.arguments)
        left = command.made.exists() and content(command.made) == expected
        assert left, f"kill {number}: the same command gives code {code} and something else"
    hidden = [path for path in command.made.parent.rglob("*") if ".partial" in path.name]
    assert hidden == [], "what a killed command left is still there"


@pytest.fixture
def weights(tiny_config: Path, tmp_path: Path) -> Path:
    """Weights of a network that is exported and run quickly."""
    train(tiny_config, ["train.epochs=1"], tmp_path / "trained")
    copy = tmp_path / "copied" / "best.safetensors"
    copy.parent.mkdir()
    shutil.copy(tmp_path / "trained" / "best.safetensors", copy)
    return copy


@pytest.mark.slow
def test_prepare_survives(tmp_path: Path) -> None:
    source = write_official_layout(tmp_path / "source")
    arguments = ("data", "prepare", str(source), "--out", str(tmp_path / "out" / "data"))
    survives(Killed(arguments, tmp_path / "out" / "data", check_images), seed=1)


@pytest.mark.slow
def test_prepare_with_images_set_aside_survives(tmp_path: Path) -> None:
    pets = tmp_path / "pets"
    for index in range(200):
        write_image(pets / f"c{index % 2}" / f"{index:03}.png", seed=index)
    arguments = ("data", "prepare", str(pets), "--out", str(tmp_path / "out" / "data"))
    survives(Killed(arguments, tmp_path / "out" / "data", check_images), seed=6)


@pytest.mark.slow
def test_labels_build_survives(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    arguments = ("labels", "build", str(tmp_path / "classes.txt"), "--out", str(tmp_path / "maps" / "a"))

    def whole(folder: Path) -> None:
        for path in folder.glob("[!.]*.pkl"):
            assert len(read_labels_map(path) if path.name == LABELS_MAP else read_reverse_map(path)) == 2

    survives(Killed(arguments, tmp_path / "maps" / "a", whole), seed=2)


@pytest.mark.slow
def test_tune_survives(weights: Path) -> None:
    arguments = ("tune", "--weights", str(weights), "--budget", "1", "--no-temperatures")
    survives(Killed(arguments, weights.parent / "policy.json", lambda path: path.read_text()), seed=3)


@pytest.mark.slow
def test_export_survives(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "exports" / "a"
    arguments = ("export", "--weights", str(weights), "--format", "torch", "--out", str(out))

    def whole(folder: Path) -> None:
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert {"manifest.json", "policy.json", "network.pt2", "segment-0.pt2"} <= names

    survives(Killed(arguments, out, whole), seed=4)


@pytest.mark.slow
def test_download_survives(tmp_path: Path) -> None:
    archive = np.random.default_rng(0).bytes(3_000_000)
    with serve(archive) as server:
        server.while_sending = lambda: time.sleep(0.01)
        arguments = ("data", "download", "--out", str(tmp_path), "--url", server.url)
        arguments += ("--md5", hashlib.md5(archive).hexdigest())
        made = tmp_path / "archive.zip"

        def whole(path: Path) -> None:
            assert path.read_bytes() == archive

        survives(Killed(arguments, made, whole), seed=5)
