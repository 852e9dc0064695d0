"""What the C library does with the memory of tensors that are no longer needed."""

from __future__ import annotations

import ctypes
import sys

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER_TRIM = -1


def keep_freed_memory() -> bool:
    """Tells glibc to keep the memory of freed tensors for the next ones, in this process from here on.

    By default glibc maps each block above 32 MiB anew and unmaps it when it is freed. PyTorch has no cache of its own
    on a CPU, so every large activation of every step is paid for again, page by page, by the kernel: a training step
    takes up to 1.3 times as long (docs/results.md). Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.

    Returns:
        whether it was done: False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    done: list[int] = [libc.mallopt(_MMAP_MAX, 0), libc.mallopt(_TRIM_THRESHOLD, _NEVER_TRIM)]
    return done == [1, 1]
