"""Charts as plain numbers, and what a template needs to draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Shape = Literal["line", "area", "circle", "square", "diamond", "star"]

WIDTH, HEIGHT = 720, 400  # of the drawing, in its own units; on the page it is as wide as there is room
_LEFT, _RIGHT, _TOP, _BOTTOM = 88, 36, 14, 62
_TICKS = 5
_FLAT = 1e-9  # a smaller span, in proportion to the numbers, is none: ticks could not be told apart
_SIZE = 6.5  # of a point's shape


@dataclass(frozen=True, eq=False)
class Mark:
    """What is drawn of one thing.

    Attributes:
        shape: a line through points, an area around points, or points.
        style: class names of the style sheet: `c0` to `c7` are colours that colour-blind readers tell apart.
        x: float (P,), in the data's units.
        y: likewise.
        label: in the legend; None: it is named elsewhere.
    """

    shape: Shape
    style: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Chart:
    """Marks over two axes.

    Attributes:
        title: read out, and shown above.
        x_label: with the unit.
        y_label: likewise.
        marks: from back to front.
        x_range: that the axis spans at least; None: what the marks span.
        y_range: likewise.
        has_marker: whether a slider moves a marker on it.
        whole_x: whether the horizontal axis has whole numbers alone.
    """

    title: str
    x_label: str
    y_label: str
    marks: Sequence[Mark]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    has_marker: bool = False
    whole_x: bool = False


@dataclass(frozen=True)
class Scale:
    """A linear map from data to the drawing: `offset + factor * value`."""

    offset: float
    factor: float

    def at(self, value: float) -> float:
        """A place in the drawing."""
        return self.offset + self.factor * value


@dataclass(frozen=True)
class Tick:
    """A number on an axis.

    Attributes:
        place: in the drawing.
        text: what is written there.
    """

    place: float
    text: str


@dataclass(frozen=True)
class DrawnMark:
    """A mark as an SVG path.

    Attributes:
        path: its `d`.
        style: class names.
        label: in the legend; None: none.
        key: path of a sample for the legend.
    """

    path: str
    style: str
    label: str | None
    key: str


@dataclass(frozen=True)
class DrawnChart:
    """A chart whose marks and axes have places in the drawing."""

    chart: Chart
    x: Scale
    y: Scale
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[DrawnMark, ...]
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def draw(chart: Chart) -> DrawnChart:
    """Finds the place of everything in a chart."""
    x_values, x_step = _axis(
        [value for mark in chart.marks for value in mark.x], chart.x_range, 1.0 if chart.whole_x else 0.0
    )
    y_values, y_step = _axis([value for mark in chart.marks for value in mark.y], chart.y_range)
    x = _scale(x_values, _LEFT, WIDTH - _RIGHT)
    y = _scale(y_values, HEIGHT - _BOTTOM, _TOP)
    return DrawnChart(
        chart,
        x,
        y,
        tuple(Tick(round(x.at(value), 1), _written(value, x_step)) for value in x_values),
        tuple(Tick(round(y.at(value), 1), _written(value, y_step)) for value in y_values),
        tuple(_drawn(mark, x, y) for mark in chart.marks if len(mark.x)),
    )


def _axis(
    values: Sequence[float], wanted: tuple[float, float] | None, least_step: float = 0.0
) -> tuple[list[float], float]:
    """Round numbers that span all values, and the step between them."""
    found = [*values, *(wanted or ())] or [0.0, 1.0]
    low, high = min(found), max(found)
    if high - low <= _FLAT * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    rough = max((high - low) / _TICKS, least_step)
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if least_step else (1, 2, 2.5, 5, 10)
    step = next(factor * power for factor in factors if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)], step


def _scale(values: Sequence[float], low: float, high: float) -> Scale:
    factor = (high - low) / (values[-1] - values[0])
    return Scale(low - factor * values[0], factor)


def _written(value: float, step: float) -> str:
    digits = max(0, math.ceil(-math.log10(step) - 1e-9))
    if round(step, digits) != round(step, digits + 1):  # a step of 2.5, say
        digits += 1
    return f"{value:.{digits}f}"


def _drawn(mark: Mark, x: Scale, y: Scale) -> DrawnMark:
    places = [(x.at(a), y.at(b)) for a, b in zip(mark.x, mark.y, strict=True)]
    if mark.shape in ("line", "area"):
        path = "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in places) + ("Z" if mark.shape == "area" else "")
        key = "M1,8L23,8" if mark.shape == "line" else "M1,2L23,2L23,14L1,14Z"
        return DrawnMark(path, f"{mark.shape} {mark.style}", mark.label, key)
    path = "".join(_shape(mark.shape, a, b) for a, b in places)
    return DrawnMark(path, f"point {mark.style}", mark.label, _shape(mark.shape, 12, 8))


def _shape(shape: Shape, x: float, y: float) -> str:
    """A closed path around a point."""
    if shape == "circle":
        return f"M{x - 5:.1f},{y:.1f}a5,5,0,1,0,10,0a5,5,0,1,0,-10,0Z"
    corners = {"square": 4, "diamond": 4, "star": 10}[shape]
    turn = math.pi / 4 if shape == "square" else 0.0
    corner = []
    for place in range(corners):
        size = _SIZE * (0.45 if shape == "star" and place % 2 else 1.25 if shape == "star" else 1)
        angle = turn + 2 * math.pi * place / corners - math.pi / 2
        corner.append(f"{x + size * math.cos(angle):.1f},{y + size * math.sin(angle):.1f}")
    return "M" + "L".join(corner) + "Z"
