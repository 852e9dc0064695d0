from __future__ import annotations

from pathlib import Path

import pytest

from greenedge.device import processor
from greenedge.inference import runner_files

FLAGS = {
    "fpu sse4_2 avx2 avx512f avx512_vnni": True,
    "fpu avx2 avx_vnni": True,
    "fpu avx2 amx_int8": True,
    "fpu sse4_2 avx2 avx512f": False,
    "fpu sse4_2": False,
}


@pytest.fixture(autouse=True)
def fresh() -> None:
    processor.sums_are_exact.cache_clear()


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /proc/cpuinfo."""
    path = tmp_path / "cpuinfo"
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, *args, **kwargs: read(path if str(self) == "/proc/cpuinfo" else self, *args, **kwargs),
    )
    monkeypatch.setattr(processor, "is_arm", lambda: False)
    return path


@pytest.mark.parametrize(("flags", "exact"), FLAGS.items())
def test_sums_are_exact_where_an_instruction_adds_in_32_bits(cpuinfo: Path, flags: str, exact: bool) -> None:
    cpuinfo.write_text(f"processor : 0\nmodel name : of some kind\nflags : {flags}\n\nprocessor : 1\nflags : {flags}\n")
    assert processor.sums_are_exact() is exact
    assert runner_files.sums_are_exact() is exact


def test_where_nothing_is_known_weights_take_7_bits(cpuinfo: Path) -> None:
    assert not cpuinfo.exists()
    assert processor.sums_are_exact() is False


def test_arm_needs_no_such_instruction(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo.write_text("Features : fp asimd\n")
    monkeypatch.setattr(processor, "is_arm", lambda: True)
    assert processor.sums_are_exact() is True
    assert runner_files.sums_are_exact() is True  # its processors list no flags
