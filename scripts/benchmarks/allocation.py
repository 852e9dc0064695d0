"""glibc's own way with freed memory, to go back to between contenders."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """What a process that sets nothing comes to, where blocks above 32 MiB are mapped. Undoes `disable_malloc_trim`.

    glibc starts with thresholds of 128 KiB and raises them to the largest block that was freed, at most 32 MiB (and
    twice that for trimming); mallopt(3) says so under M_MMAP_THRESHOLD.
    """
    libc = ctypes.CDLL(None)
    for parameter, value in ((-4, 65536), (-3, 32 << 20), (-1, 64 << 20)):
        libc.mallopt(parameter, value)
    libc.malloc_trim(0)
