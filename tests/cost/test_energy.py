from __future__ import annotations

import builtins
import sys
import types
from dataclasses import dataclass
from typing import Any

import pytest

from greenedge.cost.energy import EnergyMeter, find_energy_meter, metered_domains, total_joules


@dataclass
class Reading:
    """A stand-in for zeus' `Measurement`, recorded on different machines."""

    gpu_energy: dict[int, float]
    cpu_energy: dict[int, float] | None = None
    dram_energy: dict[int, float] | None = None
    soc_energy: object | None = None


@dataclass
class Jetson:
    cpu_energy_mj: float | None = 700.0
    gpu_energy_mj: float | None = 900.0
    total_energy_mj: float | None = 2500.0


@dataclass
class Apple:
    cpu_total_mj: int | None = 1500
    efficiency_cores_mj: list[int] | None = None
    dram_mj: int | None = 200
    gpu_mj: int | None = 300
    gpu_sram_mj: int | None = None
    ane_mj: int | None = 0


@pytest.mark.parametrize(
    ("reading", "joules", "domains"),
    [
        (Reading({0: 12.5}), 12.5, ("GPU",)),
        (Reading({0: 12.5, 1: 7.5}, {0: 30.0}, {0: 2.0}), 52.0, ("GPU", "CPU package", "DRAM")),
        (Reading({}, {0: 30.0, 1: 10.0}), 40.0, ("CPU package",)),
        (Reading({}, soc_energy=Jetson()), 2.5, ("board",)),  # its total includes its parts
        (Reading({}, soc_energy=Apple()), 2.0, ("board",)),
        (Reading({}), None, ()),
        (Reading({}, {}, {}), None, ()),
    ],
)
def test_total_joules_adds_up_the_parts_of_a_recorded_reading(
    reading: Reading, joules: float | None, domains: tuple[str, ...]
) -> None:
    assert total_joules(reading) == (None if joules is None else pytest.approx(joules))
    assert metered_domains(reading) == domains


class Recorded:
    """A monitor that replays readings."""

    def __init__(self, readings: list[Reading]) -> None:
        self.readings = readings
        self.open: list[str] = []

    def begin_window(self, name: str) -> None:
        assert name not in self.open
        self.open.append(name)

    def end_window(self, name: str) -> Reading:
        self.open.remove(name)
        return self.readings.pop(0)


def test_energy_meter_runs_its_function_once_and_closes_its_window() -> None:
    monitor = Recorded([Reading({0: 3.0}), Reading({}), Reading({})])
    ran: list[int] = []
    assert EnergyMeter(monitor).joules(lambda: ran.append(1)) == 3.0
    assert EnergyMeter(monitor).joules(lambda: ran.append(2)) is None
    with pytest.raises(ZeroDivisionError):
        EnergyMeter(monitor).joules(lambda: 1 / 0)
    assert (ran, monitor.open) == ([1, 2], [])


def fake_zeus(monkeypatch: pytest.MonkeyPatch, monitor: Any) -> None:
    package, module = types.ModuleType("zeus"), types.ModuleType("zeus.monitor")
    module.ZeusMonitor = monitor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zeus", package)
    monkeypatch.setitem(sys.modules, "zeus.monitor", module)


def test_find_energy_meter_finds_a_meter_that_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_zeus(monkeypatch, lambda: Recorded([Reading({0: 0.1}), Reading({0: 5.0})]))
    meter, sentence = find_energy_meter()
    assert meter is not None
    assert meter.joules(lambda: None) == 5.0
    assert (meter.kind, meter.domains) == ("measured", ("GPU",))
    assert sentence == "joules (measured) are those of GPU, including other programs"


def test_find_energy_meter_says_where_joules_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = Recorded([Reading({0: 0.1}, {0: 1.0})])
    monitor.power_monitor = object()  # type: ignore[attr-defined]  # zeus has one for GPUs that count no joules
    fake_zeus(monkeypatch, lambda: monitor)
    meter, sentence = find_energy_meter()
    assert meter is not None
    assert meter.kind == "estimated"
    assert sentence.startswith("joules (estimated) are those of GPU and CPU package")


def test_find_energy_meter_returns_none_and_the_reason_without_a_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_zeus(monkeypatch, lambda: Recorded([Reading({})]))
    assert find_energy_meter() == (None, "no energy was measured: this machine has no meter that zeus can read")

    def broken() -> None:
        raise RuntimeError("no permission")

    fake_zeus(monkeypatch, broken)
    assert find_energy_meter() == (
        None,
        "no energy was measured: zeus cannot read this machine's meters (no permission)",
    )


def test_find_energy_meter_names_zeus_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("zeus"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert find_energy_meter() == (None, "no energy was measured: it needs zeus (pip install 'greenedge[energy]')")
