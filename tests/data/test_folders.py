"""Folders that are complete or absent, also after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenedge.data.folders import new_folder
from greenedge.errors import DataError

HOLD = """
import sys, time
from pathlib import Path
from greenedge.data.folders import new_folder
with new_folder(Path(sys.argv[1])) as partial:
    (partial / "file").write_text("half")
    print(partial, flush=True)
    time.sleep(60)
"""


def start(out: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_new_folder_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    process, partial = start(tmp_path / "out")
    end(process)
    assert (partial / "file").read_text() == "half"
    with new_folder(tmp_path / "out") as folder:
        assert not partial.exists()
        (folder / "file").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "file").read_text() == "whole"


def test_new_folder_keeps_the_folder_of_a_live_process(tmp_path: Path) -> None:
    process, partial = start(tmp_path / "out")
    try:
        with new_folder(tmp_path / "out"):
            assert (partial / "file").read_text() == "half"
        assert (partial / "file").read_text() == "half"
    finally:
        end(process)


def test_new_folder_keeps_folders_of_other_names_and_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    kept = [tmp_path / ".other.partial-x", tmp_path / "out.partial-x", tmp_path / ".out", tmp_path / ".out.partial"]
    for path in kept:
        path.mkdir()
    (tmp_path / ".out.partial-link").symlink_to("elsewhere")
    with new_folder(tmp_path / "out"):
        pass
    assert all(path.exists() for path in [*kept, tmp_path / "elsewhere", tmp_path / ".out.partial-link"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), ValueError("x")])
def test_new_folder_removes_the_folders_above_after_an_error(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "deep" / "er" / "out") as folder:
            (folder / "file").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_new_folder_refuses_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be created: File name too long"), new_folder(tmp_path / ("x" * 250)):
        pass
