"""Energy in joules, from meters that zeus reads: GPUs (NVML, AMD), CPUs (RAPL), Jetson and Apple boards."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Fields of zeus for a whole board, in mJ: a Jetson has a total, an Apple chip the parts of one.
_BOARD_TOTAL = "total_energy_mj"
_BOARD_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")


@dataclass(frozen=True)
class EnergyMeter:
    """Measures the energy of what runs.

    Attributes:
        monitor: a zeus monitor, with `begin_window(name)` and `end_window(name)`.
    """

    monitor: Any

    def joules(self, run: Callable[[], object]) -> float | None:
        """Calls `run` and returns the energy of the machine's metered parts meanwhile; None where it cannot be read."""
        self.monitor.begin_window("greenedge")
        try:
            run()
        finally:
            with warnings.catch_warnings():
                # zeus warns of windows that are too short to measure, for which the result is None.
                warnings.simplefilter("ignore")
                reading = self.monitor.end_window("greenedge")
        return total_joules(reading)


def find_energy_meter() -> tuple[EnergyMeter | None, str]:
    """Returns this machine's meter, or None, and a sentence on what it measures or why there is none."""
    try:
        from zeus.monitor import ZeusMonitor
    except ImportError:
        return None, "no energy was measured: it needs zeus (pip install 'greenedge[energy]')"
    # Below ERROR, zeus logs every kind of device that is missing.
    logging.getLogger("zeus").setLevel(logging.ERROR)
    try:
        monitor = ZeusMonitor()
    except Exception as error:  # noqa: BLE001  # drivers raise errors of their own; the benchmark continues
        return None, f"no energy was measured: zeus cannot read this machine's meters ({error})"
    meter = EnergyMeter(monitor)
    if meter.joules(lambda: None) is None:
        return None, "no energy was measured: this machine has no meter that zeus can read"
    return meter, "joules are those of all metered parts of the machine, including other programs"


def total_joules(reading: Any) -> float | None:
    """Sums the parts of a zeus measurement; None where it has none.

    Args:
        reading: with `gpu_energy`, `cpu_energy`, `dram_energy` (maps to J, or None) and `soc_energy` (in mJ, or None).
    """
    parts = [list(part.values()) for part in (reading.gpu_energy, reading.cpu_energy, reading.dram_energy) if part]
    board = reading.soc_energy
    if board is not None:
        total = getattr(board, _BOARD_TOTAL, None)
        fields = [total] if total is not None else [getattr(board, name, None) for name in _BOARD_PARTS]
        parts.append([value / 1000 for value in fields if value is not None])
    values = [value for part in parts for value in part]
    return float(sum(values)) if values else None
