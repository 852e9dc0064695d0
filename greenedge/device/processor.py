"""What this machine's processor is called, and what it can do with integers."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

# Instructions that multiply 8-bit integers and add the products in 32 bits at once.
_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}

NO_VNNI = "this processor has no VNNI that is known of, so that sums of 8-bit products overflow"


def processor_name(root: Path = Path("/")) -> str | None:
    """What the processor's maker calls it; None where the system does not say.

    Args:
        root: of the file system that holds `proc`.
    """
    names = cpuinfo_values("model name", root)
    if names is None:  # not Linux
        return platform.processor() or None
    return next(iter(names), "") or None


def cpuinfo_values(key: str, root: Path = Path("/")) -> list[str] | None:
    """What /proc/cpuinfo says of each core; None where there is no such file.

    Args:
        key: with which its lines begin.
        root: of the file system that holds `proc`.
    """
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(key)]


@cache
def is_arm() -> bool:
    """Whether it is one of ARM's, whose instructions take both factors signed."""
    return platform.machine().lower() in ("aarch64", "arm64")


@cache
def sums_are_exact() -> bool:
    """Whether products of unsigned and signed 8-bit integers add up without overflow.

    Where it is not known (outside Linux), the answer is no for x64: nothing is wrong then, only less precise.
    """
    if is_arm():
        return True
    flags = cpuinfo_values("flags") or [""]
    return not _FLAGS.isdisjoint(flags[0].split())
