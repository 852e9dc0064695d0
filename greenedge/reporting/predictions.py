"""The result of `greenedge predict` as a table and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from greenedge.data.layouts import ClassInfo
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.classify import ClassifiedImages
from greenedge.reporting.blocks import CommandResult, Table
from greenedge.reporting.names import exit_name


def present_predictions(
    found: ClassifiedImages, policy: ExitPolicy, classes: Sequence[ClassInfo], labels: Mapping[int, int | str]
) -> CommandResult[ClassifiedImages]:
    """One line per image, and the mean cost.

    Args:
        found: the predictions.
        policy: when images exit.
        classes: in the order of the logits.
        labels: class index -> label.
    """
    predictions = [
        {
            "image": str(each.image),
            "class": each.class_index,
            "label": labels[each.class_index],
            "name": classes[each.class_index].name,
            "probability": each.probability,
            "exit": each.exit_index + 1,
            policy.criterion: each.score,
            "gflops": each.gflops,
        }
        for each in found.predictions
    ]
    failed = [{"image": str(each.image), "error": each.error} for each in found.failed]
    count = len(found.predictions) + len(failed)
    return CommandResult(
        value=found,
        blocks=(_table(found, policy, classes, labels), f"{policy}: {found.gflops:.4f} GFLOPs per image"),
        json={**dataclasses.asdict(policy), "gflops": found.gflops, "predictions": predictions, "failed": failed},
        problem=f"{len(failed)} of {count} images cannot be used, and have no prediction" if failed else None,
    )


def _table(
    found: ClassifiedImages, policy: ExitPolicy, classes: Sequence[ClassInfo], labels: Mapping[int, int | str]
) -> Table:
    exits = len(policy.thresholds) + 1
    rows = [
        [
            each.image,
            labels[each.class_index],
            classes[each.class_index].name,
            f"{100 * each.probability:.1f}",
            exit_name(each.exit_index, exits),
            f"{each.score:.3f}",
            f"{each.gflops:.4f}",
        ]
        for each in found.predictions
    ]
    score = f"{policy.criterion} ({policy.get_criterion().unit})"
    return Table(["image", "label", "name", "probability (%)", "exit", score, "GFLOPs"], rows)
