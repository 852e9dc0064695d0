"""Freed memory that is kept, measured by the page faults that are saved."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from greenedge.device.memory import disable_malloc_trim
from greenedge.errors import UsageError

_FAULTS = """
import resource, sys, torch
from greenedge.device.memory import disable_malloc_trim

layers = [torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, padding=1)]
network = torch.nn.Sequential(*layers)
images = torch.randn(64, 8, 64, 64)  # every activation: 8 MB, 2,048 pages of 4 KiB

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        network(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] != "default":
    assert disable_malloc_trim() == (sys.argv[1] == "keep")
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_disable_malloc_trim_reuses_freed_memory_without_new_pages() -> None:
    # Each setting runs in its own process, since it cannot be undone.
    counts = {}
    for way in ("keep", "default", "declined"):
        environment = {**os.environ, "GREENEDGE_MALLOC": "default" if way == "declined" else "keep"}
        command = [sys.executable, "-c", _FAULTS, way]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        counts[way] = int(done.stdout)
    assert counts["default"] > 10_000
    assert counts["declined"] > 10_000
    assert counts["keep"] < counts["default"] / 5


def test_disable_malloc_trim_refuses_an_unknown_setting_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENEDGE_MALLOC", "jemalloc")
    with pytest.raises(UsageError, match="GREENEDGE_MALLOC is 'jemalloc'; expected keep or default"):
        disable_malloc_trim()
