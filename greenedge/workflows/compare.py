"""`greenedge compare`: several networks on the same images, with intervals that say which differences are real."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenedge.errors import UsageError
from greenedge.exits.confidence import find_criterion
from greenedge.exits.network_comparison import Comparison, compare_networks
from greenedge.exits.sweep import score_outputs
from greenedge.reporting.blocks import CommandResult, write_result
from greenedge.reporting.comparison import present_comparison
from greenedge.reporting.names import run_names
from greenedge.training.run_files import BEST
from greenedge.workflows.models import open_run
from greenedge.workflows.outputs import PassOptions, check_same_images, load_or_compute_outputs
from greenedge.workflows.static_family import load_static


def compare(
    runs: Sequence[Path], options: PassOptions, criterion: str | None, out: Path, static: Sequence[Path] = ()
) -> CommandResult[Comparison]:
    """Accuracy, cost and areas of every run, each pair's difference, and one figure; writes compare.json, .csv, .png.

    Args:
        runs: run directories, checkpoints or folders of exports, two or more.
        options: which images, the same for all, and in which precision.
        criterion: a name in `CRITERIA`; None: each config's.
        out: folder for the results.
        static: runs whose backbones without exits every curve is set beside.

    Raises:
        UsageError: fewer than two runs.
        DataError: runs on different images.
        GreenedgeError: a run cannot be used.
    """
    if len(runs) < 2:
        raise UsageError("give at least two runs to compare")
    models = [open_run(path) for path in runs]
    evaluated = [load_or_compute_outputs(model, options) for model in models]
    for path, each in zip(runs, evaluated, strict=True):
        check_same_images(path, each, runs[0], evaluated[0])
    scores = [
        score_outputs(each.outputs, find_criterion(criterion or each.model.config.sweep.criterion))
        for each in evaluated
    ]
    summaries = [each.summary for each in evaluated]
    choices = load_static(static, options, evaluated[0])
    found = compare_networks(scores, [summary.standalone_gflops for summary in summaries], choices)
    return write_result(present_comparison(run_names(runs, BEST), summaries, found), out, "compare")
