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
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return platform.processor() or None
    found = next((line for line in text.splitlines() if line.startswith("model name")), "")
    return found.partition(":")[2].strip() or None


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
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not _FLAGS.isdisjoint(flags.split())
