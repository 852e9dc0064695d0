"""What a page is made of: the results of one run, as the rooms that know the subjects computed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from greenedge.exits.confusion import Confusion
from greenedge.exits.diagnosis import Diagnosis
from greenedge.exits.evaluation import PolicyEvaluation
from greenedge.exits.network_comparison import Band
from greenedge.exits.policy import SavedPolicy
from greenedge.exits.reliability import Reliability
from greenedge.exits.slider_points import ImageDecisions, PointGrid
from greenedge.exits.sweep import Sweep
from greenedge.exits.sweep_result import SweepResult
from greenedge.reporting.page.kept import KeptBench, KeptPlacement
from greenedge.reporting.page.sections import Gallery
from greenedge.reporting.summary import RunSummary
from greenedge.training.history import HistoryRecord


@dataclass(frozen=True)
class RunFacts:
    """What was trained on what.

    Attributes:
        name: that tells the run from the others of the page.
        weights: the checkpoint, as a user would name it.
        digest: SHA-256 of the checkpoint.
        rows: names and values, in order.
        config: the YAML text; of a cascade one for each member.
        classes: readable names.
    """

    name: str
    weights: str
    digest: str
    rows: tuple[tuple[str, str], ...]
    config: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SliderResult:
    """What the sliders move over.

    Attributes:
        shared: operating points of one threshold for all early exits, some of all where these are many.
        grid: of one threshold for each; None: the network has no two early exits, or too many.
        milliseconds_per_gflop: measured by `greenedge bench`, without early exit; None: it did not run.
        joules_per_gflop: likewise.
        decisions: what becomes of each image that the page shows, by its position among the images.
    """

    shared: Sweep
    grid: PointGrid | None
    milliseconds_per_gflop: float | None = None
    joules_per_gflop: float | None = None
    decisions: Mapping[int, ImageDecisions] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportedRun:
    """The results of a run.

    Attributes:
        facts: what was trained on what.
        summary: the network and the images that all numbers are of.
        sweep: every operating point of a shared threshold, and what it has to beat.
        band: where its curve would lie on other images.
        slider: what the sliders move over.
        evaluation: under the chosen policy, or without early exit where none was chosen.
        diagnosis: calibration and failure prediction of each exit, and overthinking.
        reliability: of what each exit goes by.
        confusion: of classes, by what each exit goes by.
        history: of the epochs; empty where it was not kept.
        galleries: images to look at; empty where none are wanted.
        policy: that was chosen; None: none was.
        policy_file: its file, as a user would name it.
        bench: what `greenedge bench` measured; None: it did not run.
        placement: what `greenedge place` found; None: it did not run.
    """

    facts: RunFacts
    summary: RunSummary
    sweep: SweepResult
    band: Band
    slider: SliderResult
    evaluation: PolicyEvaluation
    diagnosis: Diagnosis
    reliability: Reliability
    confusion: Confusion
    history: tuple[HistoryRecord, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    policy: SavedPolicy | None = None
    policy_file: str | None = None
    bench: KeptBench | None = None
    placement: KeptPlacement | None = None
