"""Run directories: one training at a time, and the files of a training that was killed at its start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from greenedge.errors import UsageError
from greenedge.training.run_directory import is_unfinished_start, locked
from greenedge.training.run_files import CONFIG, ENVIRONMENT, LOCK, STATE
from greenedge.training.state import save_state
from tests.conftest import REPOSITORY
from tests.training.helpers import tiny_state

HOLDER = """
import sys, time
from pathlib import Path
from greenedge.training.run_directory import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_locked_refuses_a_directory_in_use_until_its_owner_dies(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another training is running in this directory"), locked(out):
            pass
        holder.kill()
        holder.wait()
    with locked(out):
        (out / "kept").write_text("")
    assert [path.name for path in out.iterdir()] == ["kept"]


def test_locked_removes_a_directory_that_is_still_empty(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []


def test_locked_refuses_a_file_in_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file, or lies below one"), locked(tmp_path / "file" / "run"):
        pass


def test_locked_removes_only_half_written_files_of_a_killed_run(tmp_path: Path) -> None:
    names = [".last.state.pt.ab_c1.partial.pt", ".config.yaml.x9.partial.yaml", ".mine.partial", "config.yaml"]
    for name in names:
        (tmp_path / name).write_text("")
    with locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, ".mine.partial", "config.yaml"]


@pytest.mark.parametrize(
    ("names", "unfinished"),
    [
        ([], True),
        ([LOCK], True),
        ([CONFIG], True),
        ([CONFIG, ENVIRONMENT], True),
        ([CONFIG, "notes.txt"], False),
        (["best.safetensors"], False),
        ([CONFIG, "history.jsonl"], False),
    ],
)
def test_is_unfinished_start_accepts_only_the_first_files(tmp_path: Path, names: list[str], unfinished: bool) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    assert is_unfinished_start(tmp_path) is unfinished


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (0, 2)])
def test_is_unfinished_start_accepts_a_state_without_steps(tmp_path: Path, epoch: int, step: int) -> None:
    state = tiny_state()
    state.epoch, state.step = epoch, step
    (tmp_path / CONFIG).write_text("")
    save_state(tmp_path / STATE, state)
    assert is_unfinished_start(tmp_path) is (step == 0)
