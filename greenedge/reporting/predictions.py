"""The result of `greenedge predict` as a table, JSON, and rows of a CSV or JSONL file."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from greenedge.data.layouts import ClassInfo
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.classify import ClassifiedImages, ImagePrediction
from greenedge.reporting.blocks import Block, CommandResult, Table
from greenedge.reporting.names import exit_name

WriteRow = Callable[[ImagePrediction], None]


@dataclass(frozen=True)
class PredictionNames:
    """What predictions are told in.

    Attributes:
        policy: when images exit.
        classes: in the order of the logits.
        labels: class index -> label.
    """

    policy: ExitPolicy
    classes: Sequence[ClassInfo]
    labels: Mapping[int, int | str]

    @property
    def keys(self) -> list[str]:
        """Those of a record."""
        return ["image", "class", "label", "name", "probability", "exit", self.policy.criterion, "gflops"]

    def values(self, each: ImagePrediction) -> list[Any]:
        """Those of a prediction, in the order of the keys."""
        index = each.class_index
        named = [str(each.image), index, self.labels[index], self.classes[index].name]
        return [*named, each.probability, each.exit_index + 1, each.score, each.gflops]

    def record(self, each: ImagePrediction) -> dict[str, Any]:
        """A prediction for programs."""
        return dict(zip(self.keys, self.values(each), strict=True))


def _write_csv(file: TextIO, names: PredictionNames) -> WriteRow:
    writer = csv.writer(file)
    writer.writerow(names.keys)
    return lambda each: writer.writerow(names.values(each))


def _write_jsonl(file: TextIO, names: PredictionNames) -> WriteRow:
    return lambda each: print(json.dumps(names.record(each), allow_nan=False), file=file)


# How a file of predictions ends -> what begins it, and gives what writes a row.
PREDICTION_FILES: dict[str, Callable[[TextIO, PredictionNames], WriteRow]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
}


def present_predictions(
    found: ClassifiedImages, names: PredictionNames, out: Path | None
) -> CommandResult[ClassifiedImages]:
    """One line per image and the mean cost; where a file has the predictions, how many exit where.

    Args:
        found: the predictions.
        names: what they are told in.
        out: the file that has them all.
    """
    policy, count = names.policy, found.count
    given = count + found.failed_count
    blocks: list[Block] = [_exits_table(found) if out is not None else _table(found, names)]
    if out is None and len(found.predictions) < count:
        blocks.append(f"the first {len(found.predictions)} of {count} images are shown; --out FILE.csv has all")
    blocks.append(f"{policy}: {found.gflops:.4f} GFLOPs per image")
    failed = [{"image": str(each.image), "error": each.error} for each in found.failed]
    json_object: dict[str, Any] = {**dataclasses.asdict(policy), "gflops": found.gflops, "images": count}
    json_object["exit_shares"] = [each / count for each in found.exit_counts]
    if out is None:
        json_object["predictions"] = [names.record(each) for each in found.predictions]
    else:
        blocks.append(f"written: {out}")
        json_object["written"] = str(out)
    json_object |= {"failed_images": found.failed_count, "failed": failed}
    problem = f"{found.failed_count} of {given} images cannot be used, and have no prediction"
    return CommandResult(
        value=found, blocks=tuple(blocks), json=json_object, problem=problem if found.failed_count else None
    )


def _table(found: ClassifiedImages, names: PredictionNames) -> Table:
    policy, exits = names.policy, len(found.exit_counts)
    rows = [
        [
            each.image,
            names.labels[each.class_index],
            names.classes[each.class_index].name,
            f"{100 * each.probability:.1f}",
            exit_name(each.exit_index, exits),
            f"{each.score:.3f}",
            f"{each.gflops:.4f}",
        ]
        for each in found.predictions
    ]
    score = f"{policy.criterion} ({policy.get_criterion().unit})"
    return Table(["image", "label", "name", "probability (%)", "exit", score, "GFLOPs"], rows)


def _exits_table(found: ClassifiedImages) -> Table:
    exits = len(found.exit_counts)
    rows = [
        [exit_name(index, exits), images, f"{100 * images / found.count:.1f}"]
        for index, images in enumerate(found.exit_counts)
    ]
    return Table(["exit", "images", "exit rate (%)"], rows)
