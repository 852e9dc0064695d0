"""Files are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.files import write_atomically, write_json, write_text


class Interruption(BaseException):
    """An error like KeyboardInterrupt, which is not an Exception."""


def half_written(error: BaseException) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text("half of the new")
        raise error

    return write


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), Interruption()])
def test_write_atomically_keeps_only_the_old_file_when_the_writer_raises(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(type(error)) as caught:
        write_atomically(path, half_written(error))
    assert caught.value is error
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["result.json"]


def test_write_atomically_names_the_requested_file_in_a_system_error(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    error = OSError(28, "No space left on device", str(tmp_path / ".result.json.partial"))
    with pytest.raises(OSError, match="cannot be written") as caught:
        write_atomically(path, half_written(error))
    assert (caught.value.errno, caught.value.filename) == (28, str(path))
    assert caught.value.strerror == "cannot be written (No space left on device)"
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["result.json"]


def test_write_atomically_leaves_no_new_file_when_the_writer_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "result.json", half_written(OSError("disk full")))
    assert entries(tmp_path) == []


def test_write_atomically_keeps_the_old_file_when_the_writer_removes_its_own(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.unlink()
        raise OSError("disk full")

    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "a.txt", write)
    assert entries(tmp_path) == ["a.txt"]


def test_write_atomically_keeps_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append((temporary.parent, temporary.suffix, temporary != path, path.read_text()))

    write_atomically(path, write)
    assert seen == [(tmp_path, ".json", True, "old")]  # same folder, so that the renaming is one step
    assert path.read_text() == "new"
    assert entries(tmp_path) == ["result.json"]


def test_write_atomically_refuses_the_name_of_a_folder_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    with pytest.raises(OSError, match="result"):
        write_text(tmp_path / "result", "new")
    assert entries(tmp_path) == ["result"]
    assert entries(tmp_path / "result") == []


def test_write_atomically_refuses_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError, match="runs"):
        write_text(tmp_path / "runs" / "a.txt", "new")
    assert (tmp_path / "runs").read_text() == "a file"


def test_write_atomically_creates_missing_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_write_atomically_gives_ordinary_permissions(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "ours", "")
        (tmp_path / "ordinary").write_text("")
        after = os.umask(mask)
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    assert after == mask


@pytest.mark.parametrize("text", ["", "ä λ 樹 🌲\n", "a\nb\n"])
def test_write_text_writes_utf8(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == text.encode("utf-8")


@settings(deadline=None, max_examples=20)
@given(st.recursive(st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists))
def test_write_json_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, {"value": value})
    assert json.loads(path.read_text(encoding="utf-8")) == {"value": value}


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, {"a": object()}])
def test_write_json_refuses_nan_and_keeps_the_old_file(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert entries(tmp_path) == ["a.json"]


def test_remove_abandoned_removes_files_of_killed_processes_only(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    abandoned = tmp_path / ".result.json.abc123.partial.json"
    abandoned.write_text("half")
    others = [tmp_path / ".other.json.abc123.partial.json", tmp_path / "result.json.partial"]
    for other in others:
        other.write_text("")
    inner: list[Path] = []

    def write(temporary: Path) -> None:
        temporary.write_text("outer")
        write_text(path, "inner")  # as another process would, at the same time
        inner.append(temporary)
        assert temporary.exists()

    write_atomically(path, write)
    assert path.read_text() == "outer"
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])
