from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenedge.exits.policy import shared_policy
from greenedge.inference import Engine, chunks
from greenedge.inference.chunks import ChunkComparison
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import random_network

SLOW, FAST = (8, 2, 4, 2), (64, 64, 64, 64)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "greenedge"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> MultiExitNetwork:
    monkeypatch.setattr(chunks, "measure_chunks", lambda *_: SLOW)
    monkeypatch.setattr("greenedge.inference.engine.measure_chunks", lambda *_: SLOW)
    return random_network("resnet18", "layer1", "layer3", spread=False)


def timed(monkeypatch: pytest.MonkeyPatch, default: list[float], measured: list[float]) -> list[int]:
    """Both ways are run, but the clock says this."""
    calls: list[int] = []

    def time_interleaved(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
        assert list(contenders) == ["default", "measured"]
        calls.append(rounds)
        for run in contenders.values():
            run()
        return {"default": default, "measured": measured}

    monkeypatch.setattr(chunks, "time_interleaved", time_interleaved)
    return calls


def engine(network: MultiExitNetwork) -> Engine:
    return Engine(network, shared_policy("entropy", 0.0, 2), precision="float32")


@pytest.mark.parametrize(
    ("default", "measured", "wins"),
    [
        ([1.0] * 5, [0.5] * 5, True),
        ([1.0] * 5, [0.95] * 5, True),
        ([1.0] * 5, [0.97] * 5, False),  # within what chance gives
        ([1.0] * 5, [0.5, 0.5, 0.5, 1.1, 1.1], False),  # wins three rounds of five
        ([1.0] * 5, [0.5, 0.5, 0.5, 0.5, 9.0], True),
        ([0.53] * 5, [1.1] * 5, False),  # as was found in use
    ],
)
def test_measured_sizes_are_kept_only_where_they_are_clearly_faster(
    default: list[float], measured: list[float], wins: bool, small: MultiExitNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ChunkComparison(FAST, SLOW, tuple(default), tuple(measured)).winner == (SLOW if wins else FAST)


def test_what_lost_is_not_used_and_the_timings_are_kept(
    small: MultiExitNetwork, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    calls = timed(monkeypatch, [0.53] * 5, [1.1] * 5)
    assert engine(small).autotune() == FAST
    (path,) = own_cache.iterdir()
    kept = json.loads(path.read_text())
    assert kept["chunks"] == list(FAST)
    assert kept["comparison"] == {
        "default": list(FAST),
        "measured": list(SLOW),
        "default_seconds": [0.53] * 5,
        "measured_seconds": [1.1] * 5,
    }
    timed(monkeypatch, [1.0] * 5, [0.5] * 5)
    again = engine(small)
    assert again.autotune() == FAST  # once a machine
    assert again.autotune(again=True) == SLOW
    assert engine(small).chunks == SLOW
    assert calls == [5]


def test_the_same_sizes_are_not_timed(small: MultiExitNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = timed(monkeypatch, [1.0] * 5, [0.5] * 5)
    monkeypatch.setattr("greenedge.inference.engine.measure_chunks", lambda *_: FAST)
    assert engine(small).autotune() == FAST
    assert calls == []


def damaged(change: Callable[[dict[str, Any]], None]) -> Callable[[str], str]:
    """A file that was written like this, with no seal."""

    def changed(text: str) -> str:
        content = json.loads(text)
        del content["digest"]
        change(content)
        return json.dumps(content)

    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:40], "is damaged"),
        (lambda _: "[" * 100_000, "is damaged: it is nested too deeply"),
        (lambda text: text.replace("64", "32", 1), "was changed after it was written"),
        (damaged(lambda content: content.update(chunks=[64, 64, 64])), "is not about this network"),
        (damaged(lambda content: content.update(chunks=[64, 64, 64, 0])), "expected .* at least 1"),
        (damaged(lambda content: content.update(chunks=[64, 64, 64, 65537])), "at most 65536"),
        (damaged(lambda content: content.update(chunks=[64, 64, 64, True])), "expected a whole number"),
        (
            damaged(lambda content: content.update(segments=["a", "b", "c", "d"])),
            "is not about this network",
        ),
        (damaged(lambda content: content["comparison"].update(measured_seconds=[-1.0])), "above 0"),
        (damaged(lambda content: content.pop("comparison")), "comparison"),
    ],
)
def test_a_damaged_file_is_said_and_measured_anew(
    small: MultiExitNetwork,
    own_cache: Path,
    change: Callable[[str], str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    timed(monkeypatch, [1.0] * 5, [0.5] * 5)
    assert engine(small).autotune() == SLOW
    (path,) = own_cache.iterdir()
    path.write_text(change(path.read_text()))
    found = engine(small)
    assert found.chunks == FAST
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"note: {path}: ")
    assert len(record.getMessage().splitlines()) == 1
    assert re.search(words, record.getMessage()), record.getMessage()
    assert found.autotune() == SLOW
    caplog.clear()
    assert engine(small).chunks == SLOW
    assert caplog.records == []


def test_without_a_home_directory_nothing_is_kept_and_all_works(
    small: MultiExitNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    timed(monkeypatch, [1.0] * 5, [0.5] * 5)
    found = engine(small)
    assert found.chunks == FAST
    assert caplog.records == []
    assert found.autotune() == SLOW
    (record,) = caplog.records
    assert "since there is no home directory" in record.getMessage()


def test_a_folder_that_cannot_be_written_is_a_note(
    small: MultiExitNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    timed(monkeypatch, [1.0] * 5, [0.5] * 5)
    found = engine(small)
    assert found.autotune() == SLOW
    assert "are not kept" in caplog.records[-1].getMessage()
    assert all(len(record.getMessage().splitlines()) == 1 for record in caplog.records)
