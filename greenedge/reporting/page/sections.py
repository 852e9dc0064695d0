"""The parts of a page: the blocks that commands print, with charts and images where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greenedge.reporting.blocks import Block, Table
from greenedge.reporting.page.charts import DrawnChart


@dataclass(frozen=True)
class Thumbnail:
    """An image of a gallery.

    Attributes:
        source: a `data:` address.
        side: pixels per side.
        label: the true class.
        caption: what was predicted, where, and how confidently.
        alt: read out in the image's place.
        image: its position among the images, by which the sliders find what becomes of it.
    """

    source: str
    side: int
    label: str
    caption: str
    alt: str
    image: int


@dataclass(frozen=True)
class Gallery:
    """Images of one kind.

    Attributes:
        title: what they have in common.
        images: at least one.
    """

    title: str
    images: Sequence[Thumbnail]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        key: ends the section's address; the same for all runs.
        title: its heading.
        charts: shown side by side where there is room.
        lead: sentences and tables that are always shown.
        behind: the tables behind the charts, shown when they are asked for.
        galleries: images, below the charts.
        moves: whether what becomes of the images follows the sliders.
    """

    key: str
    title: str
    charts: Sequence[DrawnChart] = ()
    lead: Sequence[Block] = ()
    behind: Sequence[Block] = ()
    galleries: Sequence[Gallery] = ()
    moves: bool = False


@dataclass(frozen=True)
class SliderPart:
    """The sliders of a run.

    Attributes:
        chart: with the marker.
        columns: headers of what is shown of a point.
        exit_names: of the early exits.
        shared_places: how many points the one slider has.
        grid_places: how many thresholds each exit's slider has; empty where there is no grid.
        notes: what the sliders move over.
        json: what the script looks up.
        static: some points, for readers without the script.
        behind: the tables behind the chart.
    """

    chart: DrawnChart
    columns: Sequence[str]
    exit_names: Sequence[str]
    shared_places: int
    grid_places: Sequence[int]
    notes: Sequence[str]
    json: dict[str, Any]
    static: Table
    behind: Sequence[Block]


@dataclass(frozen=True)
class RunPart:
    """All of a page about one run.

    Attributes:
        key: begins the addresses of its sections.
        name: of the run.
        heading: the network and its images.
        facts: names and values.
        config: YAML texts.
        deploy: what to deploy, and how.
        code: command lines and Python lines that use it, each with what it is.
        slider: None for a network without early exit.
        sections: the others, in order.
    """

    key: str
    name: str
    heading: str
    facts: Sequence[tuple[str, str]]
    config: Sequence[str]
    deploy: Sequence[Block]
    code: Sequence[tuple[str, str]]
    slider: SliderPart | None
    sections: Sequence[Section]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: of the page.
        runs: in the order given.
        comparison: of several runs; None for one.
    """

    title: str
    runs: Sequence[RunPart]
    comparison: Section | None = None
