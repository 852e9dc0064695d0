"""What a measurement depends on besides the network: the processor, its clocks, threads and versions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from greenedge import __version__
from greenedge.device.processor import cpuinfo_values, processor_name, sums_are_exact

_PACKAGES = ("torch", "numpy", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Machine:
    """A machine as it was when this was asked for.

    Attributes:
        processor: its name; None where the system does not say.
        cores: logical ones that the system has.
        threads: of PyTorch.
        clock_mhz: of all cores at this moment, the mean; None where the system does not say.
        max_clock_mhz: that a core may reach; None where the system does not say.
        exact_int8_sums: whether products of 8-bit integers add up without overflow (`device/processor.py`).
        versions: package -> version; None where it is not installed.
    """

    processor: str | None
    cores: int | None
    threads: int
    clock_mhz: float | None
    max_clock_mhz: float | None
    exact_int8_sums: bool
    versions: Mapping[str, str | None]


def usable_cpus() -> int:
    """Returns how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine(root: Path = Path("/")) -> Machine:
    """Reads what the system says of itself.

    Args:
        root: of the file system that holds `proc` and `sys`.
    """
    return Machine(
        processor=processor_name(root),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        clock_mhz=_clock_mhz(root),
        max_clock_mhz=max(_frequencies_mhz(root, "cpuinfo_max_freq"), default=None),
        exact_int8_sums=sums_are_exact(),
        versions={"greenedge": __version__, **{name: _version(name) for name in _PACKAGES}},
    )


def _clock_mhz(root: Path) -> float | None:
    """The mean over the cores, by the frequency driver, else by /proc/cpuinfo, which virtual machines have too."""
    clocks = _frequencies_mhz(root, "scaling_cur_freq") or _cpuinfo_mhz(root)
    return sum(clocks) / len(clocks) if clocks else None


def _frequencies_mhz(root: Path, name: str) -> list[float]:
    found = []
    for path in sorted(root.glob(f"sys/devices/system/cpu/cpu[0-9]*/cpufreq/{name}")):
        try:
            found.append(int(path.read_text(encoding="utf-8")) / 1000)  # the file has kHz
        except (OSError, ValueError):  # cores that are offline have the file and no number
            continue
    return found


def _cpuinfo_mhz(root: Path) -> list[float]:
    try:
        return [float(clock) for clock in cpuinfo_values("cpu MHz", root) or ()]
    except ValueError:
        return []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
