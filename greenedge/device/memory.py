"""glibc allocator settings for the memory of freed tensors."""

from __future__ import annotations

import ctypes
import os
import sys

from greenedge.errors import UsageError

# `GREENEDGE_MALLOC=default` keeps glibc's default settings in every command.
VARIABLE, _KEEP, _DEFAULT = "GREENEDGE_MALLOC", "keep", "default"

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER_TRIM = -1


def disable_malloc_trim() -> bool:
    """Tells glibc to keep the memory of freed tensors for the next ones, in this process from here on.

    By default glibc maps each block above 32 MiB anew and unmaps it when it is freed. PyTorch has no cache of its own
    on a CPU, so the kernel maps the pages of every large activation anew in every step: a training step takes up to
    1.3 times as long (docs/results.md). Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.

    The setting applies to the whole process and cannot be undone, which a server may not want: the environment
    variable `GREENEDGE_MALLOC=default` turns it off for every caller.

    Returns:
        Whether trimming was disabled: False where the variable turns this off, or the C library is not glibc.

    Raises:
        UsageError: `GREENEDGE_MALLOC` is neither `keep` nor `default`.
    """
    setting = os.environ.get(VARIABLE) or _KEEP
    if setting not in (_KEEP, _DEFAULT):
        raise UsageError(f"the environment variable {VARIABLE} is {setting!r}; expected {_KEEP} or {_DEFAULT}")
    if setting == _DEFAULT:
        return False
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    done: list[int] = [libc.mallopt(_MMAP_MAX, 0), libc.mallopt(_TRIM_THRESHOLD, _NEVER_TRIM)]
    return done == [1, 1]
