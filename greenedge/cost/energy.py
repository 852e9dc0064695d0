"""Energy in joules, from meters that zeus reads: GPUs (NVML, AMD), CPUs (RAPL), Jetson and Apple boards."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

# Fields of zeus for a whole board, in mJ: a Jetson has a total, an Apple chip the parts of one.
_BOARD_TOTAL = "total_energy_mj"
_BOARD_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")


Kind = Literal["measured", "estimated"]


@dataclass(frozen=True)
class EnergyMeter:
    """Measures the energy of what runs.

    Attributes:
        monitor: a zeus monitor, with `begin_window(name)` and `end_window(name)`.
        kind: `estimated` where zeus adds up samples of a power that it asks for now and then, as for GPUs before Volta;
            `measured` where the hardware counts joules.
        domains: the parts of the machine that are metered, such as `CPU package`.
    """

    monitor: Any
    kind: Kind = "measured"
    domains: tuple[str, ...] = ()

    def joules(self, run: Callable[[], object]) -> float | None:
        """Calls `run` and returns the energy of the machine's metered parts meanwhile; None where it cannot be read."""
        return total_joules(self.read(run))

    def read(self, run: Callable[[], object]) -> Any:
        """Calls `run` and returns what zeus says of that time, part by part."""
        self.monitor.begin_window("greenedge")
        try:
            run()
        finally:
            with warnings.catch_warnings():
                # zeus warns of windows that are too short to measure, for which the result is None.
                warnings.simplefilter("ignore")
                reading = self.monitor.end_window("greenedge")
        return reading


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
    reading = EnergyMeter(monitor).read(lambda: None)
    if total_joules(reading) is None:
        return None, "no energy was measured: this machine has no meter that zeus can read"

    # What zeus uses in place of a counter that is missing.
    kind: Kind = "measured" if getattr(monitor, "power_monitor", None) is None else "estimated"
    meter = EnergyMeter(monitor, kind, metered_domains(reading))
    return meter, f"joules ({kind}) are those of {' and '.join(meter.domains)}, including other programs"


def metered_domains(reading: Any) -> tuple[str, ...]:
    """The parts of the machine that a zeus measurement covers."""
    parts = {"GPU": reading.gpu_energy, "CPU package": reading.cpu_energy, "DRAM": reading.dram_energy}
    board = {"board": _board_millijoules(reading.soc_energy)}
    return tuple(name for name, values in (parts | board).items() if values)


def total_joules(reading: Any) -> float | None:
    """Sums the parts of a zeus measurement; None where it has none.

    Args:
        reading: with `gpu_energy`, `cpu_energy`, `dram_energy` (maps to J, or None) and `soc_energy` (in mJ, or None).
    """
    parts = [list(part.values()) for part in (reading.gpu_energy, reading.cpu_energy, reading.dram_energy) if part]
    parts.append([value / 1000 for value in _board_millijoules(reading.soc_energy)])
    values = [value for part in parts for value in part]
    return float(sum(values)) if values else None


def _board_millijoules(board: Any) -> list[float]:
    """The total of a board that has one, else its parts; none where there is no board."""
    if board is None:
        return []
    total = getattr(board, _BOARD_TOTAL, None)
    fields = [total] if total is not None else [getattr(board, name, None) for name in _BOARD_PARTS]
    return [value for value in fields if value is not None]
