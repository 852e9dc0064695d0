"""Joules, where zeus can read a meter: of GPUs (NVML, AMD), CPU packages (RAPL), Jetson and Apple boards."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Zeus' fields of a whole board, in mJ; a Jetson has its total, an Apple chip the parts that make one up.
_BOARD_TOTAL = "total_energy_mj"
_BOARD_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")


@dataclass(frozen=True)
class EnergyMeter:
    """Something that tells the energy of what runs.

    Attributes:
        monitor: with zeus' `begin_window(name)` and `end_window(name)`.
    """

    monitor: Any

    def joules(self, run: Callable[[], object]) -> float | None:
        """Runs `run` and gives the energy of the machine's metered parts meanwhile; None where none could be read."""
        self.monitor.begin_window("greenedge")
        try:
            run()
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of windows too short to see; they are told by None below
                reading = self.monitor.end_window("greenedge")
        return total_joules(reading)


def find_energy_meter() -> tuple[EnergyMeter | None, str]:
    """The meter of this machine, or None, and a sentence that says which or why not."""
    try:
        from zeus.monitor import ZeusMonitor
    except ImportError:
        return None, "no energy was measured: it needs zeus (pip install 'greenedge[energy]')"
    logging.getLogger("zeus").setLevel(logging.ERROR)  # it tells of every device that is not there
    try:
        monitor = ZeusMonitor()
    except Exception as error:  # noqa: BLE001  # a driver may fail in ways of its own, and a benchmark goes on
        return None, f"no energy was measured: zeus cannot read this machine's meters ({error})"
    meter = EnergyMeter(monitor)
    if meter.joules(lambda: None) is None:
        return None, "no energy was measured: this machine has no meter that zeus can read"
    return meter, "joules are those of all metered parts of the machine, whatever else runs on them"


def total_joules(reading: Any) -> float | None:
    """The sum of a zeus measurement's parts, None where it has none.

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
