"""What the C library does with the memory of tensors that are no longer needed."""

from __future__ import annotations

import ctypes
import os
import sys

from greenedge.errors import UsageError

# `GREENEDGE_MALLOC=default` leaves glibc's allocator as it is, in every command.
VARIABLE, _KEEP, _DEFAULT = "GREENEDGE_MALLOC", "keep", "default"

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER_TRIM = -1


def disable_malloc_trim() -> bool:
    """Tells glibc to keep the memory of freed tensors for the next ones, in this process from here on.

    By default glibc maps each block above 32 MiB anew and unmaps it when it is freed. PyTorch has no cache of its own
    on a CPU, so every large activation of every step is paid for again, page by page, by the kernel: a training step
    takes up to 1.3 times as long (docs/results.md). Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.

    The setting cannot be taken back, and holds for all that the process does besides, so that a server may not want
    it: the environment variable `GREENEDGE_MALLOC=default` declines it, for whoever asks.

    Returns:
        whether it was done: False where it was declined, or the C library is not glibc.

    Raises:
        UsageError: `GREENEDGE_MALLOC` is neither `keep` nor `default`.
    """
    wish = os.environ.get(VARIABLE) or _KEEP
    if wish not in (_KEEP, _DEFAULT):
        raise UsageError(f"the environment variable {VARIABLE} is {wish!r}; expected {_KEEP} or {_DEFAULT}")
    if wish == _DEFAULT:
        return False
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    done: list[int] = [libc.mallopt(_MMAP_MAX, 0), libc.mallopt(_TRIM_THRESHOLD, _NEVER_TRIM)]
    return done == [1, 1]
