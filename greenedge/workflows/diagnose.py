"""`greenedge diagnose`: can each exit's confidence be believed, and whom does the network lose by thinking on?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.exits.calibration import (
    expected_calibration_error,
    failure_auroc,
    fit_temperatures,
    top_confidence,
)
from greenedge.exits.confidence import find_criterion
from greenedge.exits.overthinking import Overthinking, find_overthinking
from greenedge.files import write_json
from greenedge.reporting.overthinking_plot import Example, draw_examples
from greenedge.reporting.tables import format_table, write_csv
from greenedge.workflows.outputs import EvaluatedRun, PassOptions, has_split, load_or_compute_outputs, sets_aside
from greenedge.workflows.report import Report

_CLASSES_SHOWN = 10
_EXAMPLES = 12


@dataclass(frozen=True)
class ExitCalibration:
    """How far the confidence of one exit can be trusted."""

    after: str
    accuracy: float
    ece: float
    temperature: float | None
    ece_with_temperature: float | None
    auroc: float | None


def diagnose(
    weights: Path,
    options: PassOptions,
    criterion: str | None,
    out: Path | None,
    say: Callable[[str], None],
) -> Report:
    """Calibration error and failure prediction of each exit, and the images lost between an early and the final exit.

    Temperatures are fitted on the calibration images, where there are any and another split is looked at.

    Args:
        weights: the checkpoint.
        options: which images, and in which precision.
        criterion: a name in `CRITERIA` whose failure prediction is measured; None: the config's.
        out: folder for diagnose.json, overthinking.csv and overthinking.png; None: the checkpoint's.
        say: told what happens.

    Raises:
        GreenedgeError: the checkpoint or the data cannot be used.
    """
    data, split = options.data, options.split
    evaluated = load_or_compute_outputs(weights, data, split, out, say, options.precision)
    criterion = criterion or evaluated.model.config.sweep.criterion
    temperatures: tuple[float, ...] | None = None
    if split != "calibration" and has_split(evaluated.model, data, "train") and sets_aside(evaluated.model, data):
        temperatures = fit_temperatures(
            load_or_compute_outputs(weights, data, "calibration", out, say, options.precision).outputs
        )
    elif split != "calibration":
        say("note: there are no calibration images, so no temperatures are fitted")
    exits = _calibration_rows(evaluated, criterion, temperatures)
    lost = find_overthinking(evaluated.outputs)
    classes = _by_class(evaluated, lost)
    result = {
        "split": split,
        "images": len(evaluated.split),
        "criterion": criterion,
        "exits": [dataclasses.asdict(each) for each in exits],
        "overthinking": {
            "images": len(lost.images),
            "share": len(lost.images) / len(evaluated.split),
            "by_class": classes,
        },
    }
    folder, suffix = evaluated.folder, evaluated.suffix
    write_json(folder / f"diagnose{suffix}.json", result)
    write_csv(folder / f"overthinking{suffix}.csv", list(classes[0]), [list(each.values()) for each in classes])
    picture = _draw(evaluated, lost)
    return Report(_text(evaluated, result, exits, picture), result)


def _calibration_rows(
    evaluated: EvaluatedRun, criterion: str, temperatures: tuple[float, ...] | None
) -> list[ExitCalibration]:
    outputs, correct = evaluated.outputs, evaluated.outputs.correct()
    uncertainty = find_criterion(criterion).uncertainty(outputs.logits)
    found = []
    for index, cost in enumerate(evaluated.cost.exits):
        temperature = None if temperatures is None else temperatures[index]
        scaled = None if temperature is None else top_confidence(outputs.logits[index], temperature)
        found.append(
            ExitCalibration(
                after=cost.after,
                accuracy=float(correct[index].mean()),
                ece=expected_calibration_error(top_confidence(outputs.logits[index]), correct[index]),
                temperature=temperature,
                ece_with_temperature=None if scaled is None else expected_calibration_error(scaled, correct[index]),
                auroc=failure_auroc(uncertainty[index], correct[index]),
            )
        )
    return found


def _by_class(evaluated: EvaluatedRun, lost: Overthinking) -> list[dict[str, Any]]:
    """Each class, the most affected first."""
    order = np.argsort(-lost.by_class, kind="stable")
    classes = evaluated.model.classes
    return [
        {
            "class": classes[index].id,
            "name": classes[index].name,
            "images": int(lost.class_sizes[index]),
            "right_early_wrong_late": int(lost.by_class[index]),
        }
        for index in order.tolist()
    ]


def _draw(evaluated: EvaluatedRun, lost: Overthinking) -> Path | None:
    """The surest of the lost images; None where there are none."""
    path = evaluated.folder / f"overthinking{evaluated.suffix}.png"
    if not len(lost.images):
        path.unlink(missing_ok=True)  # an earlier one would show other images
        return None
    split, classes = evaluated.split, evaluated.model.classes
    examples = [
        Example(
            image=split.images[split.rows[lost.images[place]]],
            early=classes[lost.early[place]].name,
            final=classes[lost.final[place]].name,
            exit_number=int(lost.exits[place]) + 1,
        )
        for place in range(min(_EXAMPLES, len(lost.images)))
    ]
    draw_examples(examples, path)
    return path


def _text(evaluated: EvaluatedRun, result: dict[str, Any], exits: list[ExitCalibration], picture: Path | None) -> str:
    rows = [
        [
            label,
            f"{100 * each.accuracy:.2f}",
            f"{100 * each.ece:.2f}",
            "" if each.temperature is None else f"{each.temperature:.3f}",
            "" if each.ece_with_temperature is None else f"{100 * each.ece_with_temperature:.2f}",
            "" if each.auroc is None else f"{each.auroc:.4f}",
        ]
        for label, each in zip(evaluated.exit_labels, exits, strict=True)
    ]
    headers = ["exit", "accuracy (%)", "ECE (%)", "temperature", "ECE with it (%)", f"AUROC of {result['criterion']}"]
    over = result["overthinking"]
    lines = [
        evaluated.heading,
        format_table(headers, rows),
        "ECE: mean gap between confidence and accuracy, 15 bins; temperatures are fitted on the calibration images; "
        "AUROC: the chance that a wrong answer is less sure than a right one",
        f"right at an early exit, wrong at the final one: {over['images']} images ({100 * over['share']:.2f} %)",
    ]
    if picture is not None:
        worst = [each for each in over["by_class"] if each["right_early_wrong_late"]][:_CLASSES_SHOWN]
        table = [[each["class"], each["name"], each["images"], each["right_early_wrong_late"]] for each in worst]
        lines.append(format_table(["class", "name", "images", "right early, wrong late"], table))
        lines.append(f"all classes: {picture.with_suffix('.csv')}; the surest of the images: {picture}")
    return "\n".join(lines)
