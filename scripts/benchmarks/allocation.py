"""Restores glibc's default settings for freed memory between contenders."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Undoes `disable_malloc_trim`: blocks above 32 MiB are mapped, as in a process that has run for a while.

    glibc starts with thresholds of 128 KiB and raises them to the largest block that was freed, at most 32 MiB (and
    twice that for trimming); see mallopt(3), M_MMAP_THRESHOLD.
    """
    libc = ctypes.CDLL(None)
    for parameter, value in ((-4, 65536), (-3, 32 << 20), (-1, 64 << 20)):
        libc.mallopt(parameter, value)
    libc.malloc_trim(0)
