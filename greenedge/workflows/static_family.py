"""The networks without early exit that `sweep --static` and `compare --static` name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from greenedge.exits.static_family import StaticChoice
from greenedge.reporting.names import run_names
from greenedge.training.run_files import BEST, checkpoint_path
from greenedge.training.trained import load_model
from greenedge.workflows.outputs import EvaluatedRun, PassOptions, check_same_images, load_or_compute_outputs


def load_static(runs: Sequence[Path], options: PassOptions, judged: EvaluatedRun) -> list[StaticChoice]:
    """The backbones of some runs without their exits, on the images of the run that is judged.

    Args:
        runs: run directories or checkpoints.
        options: which images, and in which precision.
        judged: on the same images.

    Raises:
        DataError: a run is on other images.
        GreenedgeError: a run cannot be used.
    """
    if options.precision == "int8":  # which only an export runs in
        options = replace(options, precision="float32")
    choices = []
    names = run_names(runs, BEST) if runs else []
    for path, name in zip(runs, names, strict=True):
        each = load_or_compute_outputs(load_model(checkpoint_path(path)), options)
        check_same_images(path, each, judged.model.path, judged)
        choices.append(StaticChoice(name, each.model.cost.plain_gflops, each.outputs.correct()[-1]))
    return choices
