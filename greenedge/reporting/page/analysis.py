"""All results of a run that a page shows, from its kept outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from greenedge.exits.confusion import count_confusions
from greenedge.exits.diagnosis import diagnose_outputs
from greenedge.exits.evaluation import evaluate_policy
from greenedge.exits.examples import pick_examples
from greenedge.exits.network_comparison import curve_band
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import shared_policy
from greenedge.exits.reliability import find_reliability
from greenedge.exits.slider_points import image_decisions, point_grid, some_points
from greenedge.exits.static_family import StaticChoice
from greenedge.exits.sweep import score_outputs
from greenedge.exits.sweep_result import analyse_sweep
from greenedge.reporting.page.content import ReportedRun, RunFacts, SliderResult
from greenedge.reporting.page.kept import KeptFiles
from greenedge.reporting.page.sections import Gallery
from greenedge.reporting.page.thumbnails import PER_KIND, galleries
from greenedge.reporting.summary import RunSummary

ReadImages = Callable[[Sequence[int]], np.ndarray]


def analyse_run(
    outputs: ExitOutputs,
    summary: RunSummary,
    facts: RunFacts,
    kept: KeptFiles,
    static: Sequence[StaticChoice] = (),
    read_images: ReadImages | None = None,
) -> ReportedRun:
    """Computes what a page shows of a run.

    Args:
        outputs: of E exits on N images.
        summary: the network and the images.
        facts: what was trained on what.
        kept: what other commands left.
        static: networks without early exit on the same images, that the curve is to be set beside.
        read_images: from positions among the N images to uint8 (n, 3, H, W); None: no images are wanted.
    """
    saved = kept.policy
    policy = shared_policy(kept.criterion, None, outputs.num_exits - 1) if saved is None else saved.policy
    rule = kept.criterion if saved is None else policy
    joined = policy.join_outputs(outputs)
    scores = score_outputs(joined, policy.get_criterion())
    sweep = analyse_sweep(outputs, summary.standalone_gflops, criterion=rule, static=static)
    shared, grid = some_points(sweep.curve), point_grid(scores, None if saved is None else policy.thresholds)
    images = () if read_images is None else _galleries(joined, facts, read_images)
    shown = sorted({image.image for gallery in images for image in gallery.images})
    return ReportedRun(
        facts=facts,
        summary=summary,
        sweep=sweep,
        band=curve_band(scores),
        slider=SliderResult(
            shared,
            grid,
            None if kept.bench is None else kept.bench.milliseconds_per_gflop(),
            None if kept.bench is None else kept.bench.joules_per_gflop(),
            image_decisions(scores, joined, shown, shared, grid) if joined.num_exits > 1 else {},
        ),
        evaluation=evaluate_policy(outputs, policy),
        diagnosis=diagnose_outputs(outputs, kept.criterion, policy.temperatures),
        reliability=find_reliability(joined),
        confusion=count_confusions(joined),
        history=kept.history,
        galleries=images,
        policy=saved,
        policy_file=None if saved is None else kept.policy_file,
        bench=kept.bench,
        placement=kept.placement,
    )


def _galleries(joined: ExitOutputs, facts: RunFacts, read_images: ReadImages) -> tuple[Gallery, ...]:
    """Images to look at, by what each exit goes by."""
    examples = pick_examples(joined, PER_KIND)
    kinds = (examples.easiest, examples.hardest, examples.confidently_wrong, examples.right_early)
    places = sorted({each.image for kind in kinds for each in kind})
    pixels = dict(zip(places, read_images(places), strict=True))
    return galleries(examples, pixels, facts.classes, joined.num_exits)
