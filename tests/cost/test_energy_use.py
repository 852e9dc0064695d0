from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from greenedge.cost.energy import EnergyMeter
from greenedge.cost.energy_use import EnergyWindows, measure_energy

IDLE_WATTS = 20.0


class Machine:
    """A machine with a clock and a counter of joules: idle power all the time, and some joules for each image.

    A batch of `batch` images takes `seconds`. Of each window, what ran in it is kept.
    """

    def __init__(self, idle_watts: Callable[[int], float] = lambda _: IDLE_WATTS) -> None:
        self.time = 100.0
        self.work = 0.0  # joules of images, ever
        self.idle = 0.0  # joules of just being on, ever
        self.slept = 0
        self.idle_watts = idle_watts
        self.windows: list[list[str]] = []
        self.reading: float | None = None

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        self.idle += self.idle_watts(self.slept) * seconds

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.windows[-1].append("idle")
        self.pass_time(seconds)

    def contender(self, name: str, batch: int, seconds: float, joules: float) -> Callable[[], None]:
        def run() -> None:
            self.windows[-1].append(name)
            self.pass_time(seconds)
            self.work += joules * batch

        return run

    def begin_window(self, _: str) -> None:
        self.windows.append([])
        self.begun = self.work + self.idle

    def end_window(self, _: str) -> SimpleNamespace:
        joules = self.work + self.idle - self.begun
        return SimpleNamespace(gpu_energy=None, cpu_energy={0: joules}, dram_energy=None, soc_energy=None)

    def windows_of(self, seconds: float = 5.0, repeats: int = 3) -> EnergyWindows:
        return EnergyWindows(seconds, repeats, lambda: self.time, self.sleep)


def test_measure_energy_finds_the_joules_that_images_take_above_idle() -> None:
    machine = Machine()
    contenders = {
        "slow": machine.contender("slow", 64, seconds=0.8, joules=0.5),
        "fast": machine.contender("fast", 64, seconds=0.1, joules=0.25),
    }
    found = measure_energy(EnergyMeter(machine, "measured", ("CPU package",)), contenders, 64, machine.windows_of())
    assert (found.kind, found.domains, found.batch, found.repeats) == ("measured", ("CPU package",), 64, 3)
    assert found.idle_watts is not None
    assert found.idle_watts.mean == pytest.approx(IDLE_WATTS)
    for name, seconds, joules in (("slow", 0.8, 0.5), ("fast", 0.1, 0.25)):
        use = found.contenders[name]
        assert use is not None
        assert use.above_idle is not None
        whole = joules + IDLE_WATTS * seconds / 64
        assert use.above_idle.mean == pytest.approx(joules)
        assert use.joules_per_image.mean == pytest.approx(whole)
        assert use.images_per_second.mean == pytest.approx(64 / seconds)
        assert use.watt_hours_per_1000 == pytest.approx(whole / 3.6)
        assert use.watt_hours_per_1000_above_idle == pytest.approx(joules / 3.6)


@pytest.mark.parametrize("seconds", [0.3, 0.9, 12.0])
def test_measure_energy_fills_windows_in_alternated_order(seconds: float) -> None:
    machine = Machine()
    contenders = {name: machine.contender(name, 8, seconds, 1.0) for name in "ab"}
    counted: list[int] = []
    measure_energy(EnergyMeter(machine), contenders, 8, machine.windows_of(), lambda: counted.append(1))
    assert [set(window) for window in machine.windows] == [
        {name} for name in ("idle", *"ab", "idle", *"ba", "idle", *"ab")
    ]
    assert len(counted) == len(machine.windows)
    for window in machine.windows:
        assert len(window) * seconds >= 5.0 or window == ["idle"]
        assert (len(window) - 1) * seconds < 5.0


def test_measure_energy_takes_off_the_idle_power_of_each_repeat_and_gives_an_interval() -> None:
    powers = [10.0, 20.0, 60.0]
    machine = Machine(lambda slept: powers[slept - 1])
    contenders = {"a": machine.contender("a", 10, seconds=1.0, joules=3.0)}
    found = measure_energy(EnergyMeter(machine), contenders, 10, machine.windows_of())
    use = found.contenders["a"]
    assert use is not None
    assert use.above_idle is not None
    assert [use.above_idle.mean, use.above_idle.low, use.above_idle.high] == pytest.approx([3.0] * 3)

    # Mean and interval of 4, 5 and 9 J, by Student's t for two degrees of freedom: 4.303 standard errors.
    half = 4.303 * np.std([4, 5, 9], ddof=1) / np.sqrt(3)
    whole = use.joules_per_image
    assert [whole.mean, whole.low, whole.high] == pytest.approx([6.0, 6 - half, 6 + half])


def test_measure_energy_gives_no_interval_for_one_repeat() -> None:
    machine = Machine()
    contenders = {"a": machine.contender("a", 10, 1.0, 3.0)}
    use = measure_energy(EnergyMeter(machine), contenders, 10, machine.windows_of(repeats=1)).contenders["a"]
    assert use is not None
    assert (use.joules_per_image.low, use.joules_per_image.high) == (None, None)


def test_measure_energy_has_none_and_never_zero_where_a_counter_stands_still() -> None:
    machine = Machine(lambda _: 0.0)
    contenders = {name: machine.contender(name, 10, 1.0, joules) for name, joules in (("a", 0.0), ("b", 3.0))}
    found = measure_energy(EnergyMeter(machine), contenders, 10, machine.windows_of())
    assert found.idle_watts is None
    assert found.contenders["a"] is None
    use = found.contenders["b"]
    assert use is not None
    assert use.joules_per_image.mean == pytest.approx(3.0)
    assert use.above_idle is None
    assert use.watt_hours_per_1000_above_idle is None
