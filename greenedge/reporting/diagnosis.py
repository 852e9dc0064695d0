"""The result of `greenedge diagnose` as tables, JSON, CSV and a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from greenedge.data.layouts import ClassInfo
from greenedge.exits.diagnosis import Diagnosis
from greenedge.reporting.blocks import CommandResult, Table
from greenedge.reporting.overthinking_plot import Example, plot_examples
from greenedge.reporting.summary import RunSummary

_CLASSES_SHOWN = 10
EXAMPLES = 12  # images drawn


def present_diagnosis(
    summary: RunSummary, found: Diagnosis, classes: Sequence[ClassInfo], images: Sequence[np.ndarray]
) -> CommandResult[Diagnosis]:
    """Calibration of each exit, overthinking by class, and the most confident of the images that are lost.

    Args:
        summary: the network and the images.
        found: the diagnosis.
        classes: in the order of the logits.
        images: uint8 (3, H, W), of the first images of the overthinking, at most `EXAMPLES`.
    """
    lost = found.overthinking
    by_class = _by_class(found, classes)
    json = {
        "split": summary.split,
        "images": summary.images,
        "criterion": found.criterion_name,
        "exits": [
            {"after": cost.after, **dataclasses.asdict(each)}
            for cost, each in zip(summary.cost.exits, found.exits, strict=True)
        ],
        "overthinking": {
            "images": len(lost.images),
            "share": len(lost.images) / summary.images,
            "by_class": by_class,
        },
    }
    examples = [
        Example(image, classes[early].name, classes[final].name, int(exit_index) + 1)
        for image, early, final, exit_index in zip(images, lost.early, lost.final, lost.exits, strict=False)
    ]
    return CommandResult(
        value=found,
        blocks=tuple(_blocks(summary, found, by_class)),
        json=json,
        csv=Table(list(by_class[0]), [list(each.values()) for each in by_class]),
        figure=plot_examples(examples) if examples else None,
    )


def _by_class(found: Diagnosis, classes: Sequence[ClassInfo]) -> list[dict[str, Any]]:
    """Each class, the most affected first."""
    lost = found.overthinking
    return [
        {
            "class": classes[index].id,
            "name": classes[index].name,
            "images": int(lost.class_sizes[index]),
            "right_early_wrong_late": int(lost.by_class[index]),
        }
        for index in np.argsort(-lost.by_class, kind="stable").tolist()
    ]


def calibration_blocks(summary: RunSummary, found: Diagnosis) -> list[Table | str]:
    """Calibration and failure prediction of each exit, and how many images are lost by going on."""
    rows = [
        [
            label,
            f"{100 * each.accuracy:.2f}",
            f"{100 * each.ece:.2f}",
            "" if each.temperature is None else f"{each.temperature:.3f}",
            "" if each.ece_with_temperature is None else f"{100 * each.ece_with_temperature:.2f}",
            "" if each.auroc is None else f"{each.auroc:.4f}",
        ]
        for label, each in zip(summary.exit_labels, found.exits, strict=True)
    ]
    headers = ["exit", "accuracy (%)", "ECE (%)", "temperature", "ECE with it (%)", f"AUROC of {found.criterion_name}"]
    lost = len(found.overthinking.images)
    return [
        Table(headers, rows),
        "ECE: mean gap between confidence and accuracy, 15 bins; temperatures are fitted on the calibration images; "
        "AUROC: the chance that a wrong prediction is less confident than a correct one",
        f"correct at an early exit, wrong at the final one: {lost} images ({100 * lost / summary.images:.2f} %)",
    ]


def _blocks(summary: RunSummary, found: Diagnosis, by_class: Sequence[dict[str, Any]]) -> list[Table | str]:
    blocks = [summary.heading, *calibration_blocks(summary, found)]
    worst = [each for each in by_class if each["right_early_wrong_late"]][:_CLASSES_SHOWN]
    if worst:
        table = [[each["class"], each["name"], each["images"], each["right_early_wrong_late"]] for each in worst]
        blocks.append(Table(["class", "name", "images", "correct early, wrong late"], table))
    return blocks
