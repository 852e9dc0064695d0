"""`greenedge tune`: thresholds chosen on the calibration images, and what they do on the validation images."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from greenedge.device.precision import Precision
from greenedge.errors import UsageError
from greenedge.exits.goal import Goal
from greenedge.exits.policy import SavedPolicy, write_policy
from greenedge.exits.policy_choice import PER_EXIT, SHARED, TuneResult, few_images_interval, tune_policy
from greenedge.inference.manifest import is_export
from greenedge.inference.runtimes import Runtime
from greenedge.reporting.blocks import CommandResult, with_sentence, write_result
from greenedge.reporting.tuning import few_images_note, present_tuning
from greenedge.training.trained import open_data
from greenedge.workflows.calibration_parts import divide_calibration
from greenedge.workflows.models import ExportedModel, open_model
from greenedge.workflows.outputs import EvaluatedRun, PassOptions, load_or_compute_outputs
from greenedge.workflows.policies import POLICY

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class TuneOptions:
    """How a policy is chosen.

    Attributes:
        goal: what is asked of it.
        criterion: a name in `CRITERIA`, or `gain`; None: the best one, or the config's where none can be compared.
        ensemble: exits go by a running ensemble; None: where that is better.
        shared: one threshold for all early exits, in place of one for each.
        temperatures: divide each exit's logits by a temperature fitted on the same images; not for a largest loss.
        choose_on: `calibration`, or `val` as in the paper: then the numbers are those of images that were chosen on.
        precision: what the network runs in; None: an export's own, else float32.
        runtime: that runs an export; None: ONNX Runtime.
    """

    goal: Goal
    criterion: str | None = None
    ensemble: bool | None = None
    shared: bool = False
    temperatures: bool = True
    choose_on: Literal["calibration", "val"] = "calibration"
    precision: Precision | None = None
    runtime: Runtime | None = None


def tune(weights: Path, data: Path | None, options: TuneOptions, out: Path | None) -> CommandResult[TuneResult]:
    """Chooses a policy and writes it beside the weights, with a table and a figure of what it does.

    Of an export in 8 bits, the calibration images that its graphs were made with are left out.

    Args:
        weights: the checkpoint, or the folder of an export, whose own policy is then replaced.
        data: a prepared data set; None: the one trained on.
        options: how to choose.
        out: the policy's file; None: policy.json in the checkpoint's folder.

    Raises:
        GreenedgeError: the checkpoint, the data or the options cannot be used, or no thresholds reach the goal.
    """
    model = open_model(weights, options.runtime)
    if model.num_exits == 1:
        raise UsageError(f"{weights}: the network has no early exit, so there is nothing to tune")
    path, folder = (model.path.parent / POLICY, None) if out is None else (out, out.parent)
    known_images = PassOptions(data, options.choose_on, options.precision)
    known = _without_parts_of_graphs(load_or_compute_outputs(model, known_images, folder))
    shown = known
    if options.choose_on != "val" and "val" not in open_data(model, data).splits:
        _log.warning("note: there are no validation images, so the numbers are those of the images that were chosen on")
    elif options.choose_on != "val":
        shown = load_or_compute_outputs(model, replace(known_images, split="val"), folder)
    interval = few_images_interval(known.outputs, options.goal)
    if interval is not None:
        _log.warning("%s", few_images_note(known.summary, interval))

    found = tune_policy(
        known.outputs,
        None if shown is known else shown.outputs,
        options.goal,
        criterion=options.criterion,
        ensemble=options.ensemble,
        fallback=model.config.sweep.criterion,
        kind=SHARED if options.shared else PER_EXIT,
        temperatures=options.temperatures,
        precision=known.precision,
    )
    if path.exists():
        of_card = ", of which the model card speaks" if is_export(path.parent) else ""
        _log.warning("note: %s is replaced%s", path, of_card)
    result = present_tuning(path, known.summary, shown.summary, found)
    result = write_result(result, path.parent, f"{path.stem}-tuning")
    write_policy(path, _saved(known, found))  # last: it stands for all of it
    return with_sentence(result, f"policy ({found.kind}): {path}")


def _without_parts_of_graphs(run: EvaluatedRun) -> EvaluatedRun:
    """The images that an export's graphs in 8 bits were not made with; those of any other network as they are."""
    model, split = run.model, run.split
    if not isinstance(model, ExportedModel) or model.manifest.quantization is None or split.name != "calibration":
        return run
    _, _, rest = divide_calibration(split)
    _log.warning("note: %d calibration images, with which the graphs were made, are left out", len(split) - len(rest))
    kept = np.flatnonzero(np.isin(split.rows, rest.rows))
    return replace(run, split=rest, outputs=run.outputs.subset(kept))


def _saved(known: EvaluatedRun, found: TuneResult) -> SavedPolicy:
    how = {
        "goal": str(found.goal),
        "kind": found.kind,
        "choose_on": known.split.name,
        "images": len(known.split),
        "precision": known.precision,
        **({"runtime": known.model.runtime} if isinstance(known.model, ExportedModel) else {}),
        "accuracy": found.chosen.chosen_on.accuracy,
        "gflops": found.chosen.chosen_on.gflops,
    }
    return SavedPolicy(found.policy, known.model.exits, known.model.digest, how)
