from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenedge.inference import export_folder
from greenedge.inference.export_folder import refilled

NAMES = ("manifest", "segment-0", "segment-1")


def is_own(name: str) -> bool:
    return name == "manifest" or name.startswith("segment-")


def fill(out: Path, version: str, names: tuple[str, ...] = NAMES) -> None:
    with refilled(out, is_own, "manifest") as partial:
        for name in names:
            (partial / name).write_text(version)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def whole(version: str, **others: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, version) | others


@pytest.fixture(params=["in one step", "in two steps", "file by file"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "in two steps":
        monkeypatch.setattr(export_folder, "_exchange", lambda *_: False)
    if request.param == "file by file":
        monkeypatch.setattr(export_folder, "_can_be_swapped", lambda _: False)
    return str(request.param)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "exported"
    assert [path.name for path in tmp_path.iterdir()] in ([], ["exported"])  # nothing is left beside it


def test_a_new_export_takes_the_place_of_the_old_and_other_files_stay(way: str, out: Path) -> None:
    out.mkdir(mode=0o750)
    fill(out, "old", (*NAMES, "segment-2"))
    (out / "notes").mkdir()
    (out / "notes" / "mine").write_text("text")
    (out / "mine").write_text("text")
    (out / "link").symlink_to("mine")
    fill(out, "new")
    assert contents(out) == whole("new", mine="text", link="text", **{"notes/mine": "text"})
    assert (out / "link").is_symlink()
    assert out.stat().st_mode & 0o777 == 0o750


def test_a_failure_leaves_the_old_export(way: str, out: Path) -> None:
    fill(out, "old")

    def failing() -> None:
        with refilled(out, is_own, "manifest") as partial:
            (partial / "manifest").write_text("new")
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        failing()
    assert contents(out) == whole("old")


def test_a_failure_leaves_no_folder_that_was_not_there(tmp_path: Path) -> None:
    def failing() -> None:
        with refilled(tmp_path / "deep" / "exported", is_own, "manifest"):
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        failing()
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fill(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real") == whole("new")


def test_the_folder_that_one_stands_in_stays_the_same(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(out, "old")
    monkeypatch.chdir(out)
    fill(Path(), "new")
    assert contents(Path()) == whole("new")


# The file alone is loaded, since importing its package takes seconds.
_KILLED = """
import importlib.util, os, signal, sys
from pathlib import Path

file, out, way, last = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
spec = importlib.util.spec_from_file_location("export_folder", file)
export_folder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(export_folder)
if way == "two":
    export_folder._exchange = lambda *_: False
seen = 0

def killed(event, arguments):
    global seen
    if event in ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "ctypes.call_function") or (
        event == "open" and str(out.parent) in str(arguments[0])
    ):
        seen += 1
        if seen > last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(killed)
names = ("manifest", "segment-0", "segment-1")
with export_folder.refilled(out, lambda name: name.startswith(("manifest", "segment-")), "manifest") as partial:
    for name in names:
        (partial / name).write_text("new")
"""


@pytest.mark.parametrize("way", ["one", "two"])
def test_killed_at_any_point_it_holds_a_whole_export_and_the_same_command_succeeds(way: str, out: Path) -> None:
    for last in range(100):
        fill(out, "old")
        (out / "mine").write_text("text")
        command = [sys.executable, "-c", _KILLED, export_folder.__file__, str(out), way, str(last)]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, check=False)
        if way == "one" or out.exists():
            assert contents(out) in (whole("old", mine="text"), whole("new", mine="text"))
        fill(out, "newest")
        assert contents(out) == whole("newest", mine="text")
        assert [path.name for path in out.parent.iterdir()] == ["exported"]
        if done.returncode == 0:
            return
        assert done.returncode == -signal.SIGKILL
    pytest.fail("it never ended")


def test_a_former_export_that_was_left_aside_comes_back(out: Path) -> None:
    fill(out, "old")
    aside = out.parent / f".former-{export_folder._mark(out)}x"
    out.rename(aside)

    def failing() -> None:
        with refilled(out, is_own, "manifest"):
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        failing()
    assert contents(out) == whole("old")


def test_what_another_command_is_writing_is_left_alone(out: Path) -> None:
    with refilled(out, is_own, "manifest") as partial:
        (partial / "manifest").write_text("slow")
        fill(out, "quick")
        assert (partial / "manifest").read_text() == "slow"
        for name in NAMES[1:]:
            (partial / name).write_text("slow")
    assert contents(out) == whole("slow")
