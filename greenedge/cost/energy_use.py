"""The joules of contenders above those of an idle machine, each in windows that a meter can resolve."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

from greenedge.cost.energy import EnergyMeter, Kind
from greenedge.cost.latency import synchronize

# Counters tick every 100 ms or so: in 5 s, a tick more or less is 2 %.
WINDOW_SECONDS = 5.0
_JOULES_PER_WATT_HOUR = 3600

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class EnergyWindows:
    """How energy is measured.

    Attributes:
        seconds: each window's least length.
        repeats: windows of each contender.
        now: the time in seconds.
        sleep: waits for so many seconds, for the windows in which nothing runs.
    """

    seconds: float = WINDOW_SECONDS
    repeats: int = 3
    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], object] = time.sleep


@dataclass(frozen=True)
class RepeatedValue:
    """A mean over repeats with its 95 % interval, by Student's t.

    Attributes:
        mean: in the unit of what it is the mean of.
        low: None where it was measured once.
        high: likewise.
    """

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class EnergyUse:
    """Of one contender, all from the same windows.

    Attributes:
        images_per_second: in the windows.
        joules_per_image: of all that is metered.
        above_idle: joules per image beyond what the idle machine takes in that time; None where idle power could not be
            read.
    """

    images_per_second: RepeatedValue
    joules_per_image: RepeatedValue
    above_idle: RepeatedValue | None

    @property
    def watt_hours_per_1000(self) -> float:
        """Wh per 1,000 images, of all that is metered."""
        return 1000 * self.joules_per_image.mean / _JOULES_PER_WATT_HOUR

    @property
    def watt_hours_per_1000_above_idle(self) -> float | None:
        """Wh per 1,000 images beyond the idle machine."""
        return None if self.above_idle is None else 1000 * self.above_idle.mean / _JOULES_PER_WATT_HOUR


@dataclass(frozen=True)
class EnergyResult:
    """The energy of all contenders at one batch size.

    Attributes:
        kind: whether joules are measured or estimated.
        domains: the parts of the machine that are metered.
        batch: images per batch.
        window_seconds: each window's least length.
        repeats: windows of each contender.
        idle_watts: before the contenders, in each repeat; None where it could not be read.
        contenders: name -> energy; None where a window could not be read.
    """

    kind: Kind
    domains: tuple[str, ...]
    batch: int
    window_seconds: float
    repeats: int
    idle_watts: RepeatedValue | None
    contenders: Mapping[str, EnergyUse | None]


@dataclass(frozen=True)
class _Window:
    seconds: float
    joules: float


def measure_energy(
    meter: EnergyMeter,
    contenders: Mapping[str, Callable[[], object]],
    batch: int,
    windows: EnergyWindows,
    count: Callable[[], object] = lambda: None,
) -> EnergyResult:
    """Measures each contender's energy in turns; every other repeat runs backwards, as in `time_interleaved`.

    Each repeat begins with a window in which nothing runs, since a machine warms up and its idle power with it.

    Args:
        meter: of this machine.
        contenders: name -> function that runs one batch.
        batch: images that it runs.
        windows: how long and how often.
        count: called after each window.
    """
    idle: list[_Window | None] = []
    runs: dict[str, list[tuple[int, _Window | None]]] = {name: [] for name in contenders}
    for number in range(windows.repeats):
        idle.append(_metered(meter, windows, lambda: windows.sleep(windows.seconds)))
        count()
        turns = list(contenders.items())
        for name, run in reversed(turns) if number % 2 else turns:
            batches: list[int] = []
            window = _metered(meter, windows, partial(_run_for, run, windows, batches))
            runs[name].append((len(batches) * batch, window))
            count()

    watts = [None if each is None else each.joules / each.seconds for each in idle]
    return EnergyResult(
        kind=meter.kind,
        domains=meter.domains,
        batch=batch,
        window_seconds=windows.seconds,
        repeats=windows.repeats,
        idle_watts=_mean_of(watts),
        contenders={name: _use(each, watts) for name, each in runs.items()},
    )


def _run_for(run: Callable[[], object], windows: EnergyWindows, batches: list[int]) -> None:
    """Runs whole batches until the window is long enough."""
    started = windows.now()
    while not batches or windows.now() - started < windows.seconds:
        run()
        synchronize()  # or a GPU's queue would hold batches of many seconds
        batches.append(len(batches))


def _metered(meter: EnergyMeter, windows: EnergyWindows, run: Callable[[], object]) -> _Window | None:
    """One window; None where it has no joules: a counter that stood still for so long was not read."""
    seconds: list[float] = []

    def timed() -> None:
        started = windows.now()
        run()
        seconds.append(windows.now() - started)

    joules = meter.joules(timed)
    return _Window(seconds[0], joules) if joules else None


def _use(runs: Sequence[tuple[int, _Window | None]], watts: Sequence[float | None]) -> EnergyUse | None:
    """Of one contender, from its images and window in each repeat, and the idle power of each."""
    read = [(images, window) for images, window in runs if window is not None]
    if len(read) < len(runs):
        return None
    total = [window.joules / images for images, window in read]
    above = [
        None if idle is None else (window.joules - idle * window.seconds) / images
        for (images, window), idle in zip(read, watts, strict=True)
    ]
    speed, joules = _mean_of([images / window.seconds for images, window in read]), _mean_of(total)
    return None if speed is None or joules is None else EnergyUse(speed, joules, _mean_of(above))


def _mean_of(values: Sequence[float | None]) -> RepeatedValue | None:
    """None where one of the values is missing."""
    found = [value for value in values if value is not None]
    if len(found) < len(values) or not found:
        return None
    mean = fmean(found)
    if len(found) == 1:
        return RepeatedValue(mean, None, None)
    half = _STUDENT[min(len(found) - 1, len(_STUDENT)) - 1] * stdev(found) / math.sqrt(len(found))
    return RepeatedValue(mean, mean - half, mean + half)
