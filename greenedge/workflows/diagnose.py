"""`greenedge diagnose`: whether each exit's confidence can be trusted, and which images are lost by going on."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from greenedge.exits.calibration import fit_temperatures
from greenedge.exits.diagnosis import Diagnosis, diagnose_outputs
from greenedge.inference.runtimes import Runtime
from greenedge.reporting.blocks import CommandResult, write_result
from greenedge.reporting.diagnosis import EXAMPLES, present_diagnosis
from greenedge.training.trained import TrainedModel, sets_aside
from greenedge.workflows.models import open_model
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs

_log = logging.getLogger("greenedge")


def diagnose(
    weights: Path,
    options: PassOptions,
    criterion: str | None,
    out: Path | None,
    runtime: Runtime | None = None,
) -> CommandResult[Diagnosis]:
    """Calibration error and failure prediction of each exit, and the images lost between an early and the final exit.

    Writes diagnose.json, overthinking.csv and overthinking.png. Temperatures are fitted on the calibration images,
    where there are any and another split is looked at.

    Args:
        weights: the checkpoint, or the folder of an export.
        options: which images, and in which precision.
        criterion: a name in `CRITERIA` whose failure prediction is measured; None: the config's.
        out: folder for the results; None: the checkpoint's.
        runtime: that runs an export; None: ONNX Runtime.

    Raises:
        GreenedgeError: the checkpoint or the data cannot be used.
    """
    model = open_model(weights, runtime)
    run = load_or_compute_outputs(model, options, out)
    temperatures = _temperatures(model, options, out)
    found = diagnose_outputs(run.outputs, criterion or model.config.sweep.criterion, temperatures)
    rows = run.split.rows[found.overthinking.images[:EXAMPLES]]
    result = present_diagnosis(run.summary, found, model.classes, list(run.split.read(rows)))
    suffix = run.summary.suffix
    return write_result(result, run.folder, f"diagnose{suffix}", f"overthinking{suffix}")


def _temperatures(model: TrainedModel, options: PassOptions, out: Path | None) -> tuple[float, ...] | None:
    if options.split == "calibration":
        return None
    if not sets_aside(model, options.data):
        _log.warning("note: there are no calibration images, so no temperatures are fitted")
        return None
    return fit_temperatures(load_or_compute_outputs(model, replace(options, split="calibration"), out).outputs)
