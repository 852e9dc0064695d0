"""The history of a run, one JSON line per epoch."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from greenedge.config.convert import Count, NonNegative, Probability
from greenedge.config.records import RecordError, convert_record, parse_json
from greenedge.config.schema import EarlyStoppingConfig
from greenedge.errors import CheckpointError
from greenedge.files import write_text

_MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class HistoryRecord:
    """The results of one epoch.

    Attributes:
        epoch: counted from 1.
        loss: mean over training images of the weighted sum over exits, nats.
        train_accuracy: of each exit, in [0, 1]; None for an exit whose loss did not count.
        train_labels: the labels that this accuracy is measured against.
        learning_rate: of the last step.
        seconds: spent on the steps of the epoch.
        images_per_second: over these seconds.
        split: the images that the epoch's weights were evaluated on.
        accuracy: of each exit on these, in [0, 1].
    """

    epoch: Count
    loss: NonNegative
    train_accuracy: tuple[Probability | None, ...]
    train_labels: Literal["true", "dominant"]
    learning_rate: NonNegative
    seconds: NonNegative
    images_per_second: NonNegative
    split: Literal["calibration", "val"]
    accuracy: tuple[Probability, ...]


def read_history(
    path: Path, num_exits: int | None = None, way_out: str = "put back a copy of it"
) -> list[HistoryRecord]:
    """Reads the records of all epochs so far; none if there is no file.

    Args:
        path: `history.jsonl`.
        num_exits: of the network, where it is known.
        way_out: the advice in the error message.

    Raises:
        CheckpointError: a line is not a record, or an epoch is missing, repeated or out of order.
    """
    if not path.exists():
        return []
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    lines = content.splitlines()
    values = []
    try:
        if len(content) > _MAX_BYTES or (content and not content.endswith(b"\n")):
            raise RecordError("is truncated or too long")
        for number, line in enumerate(lines, start=1):
            values.append(_parsed(line, number))
        return parse_records(values, num_exits)
    except RecordError as error:
        raise CheckpointError(f"{path}: {error}; {way_out}") from None


def parse_records(values: object, num_exits: int | None = None) -> list[HistoryRecord]:
    """Converts plain mappings to the records of epochs 1 to n, in this order.

    Args:
        values: as `plain_records` gives them.
        num_exits: of the network, where it is known.

    Raises:
        RecordError: they are not; the message names the first invalid line.
    """
    if not isinstance(values, list):
        raise RecordError("is damaged: it is not a list of records")
    records: list[HistoryRecord] = []
    for number, value in enumerate(values, start=1):
        try:
            record: HistoryRecord = convert_record(value, HistoryRecord)
        except RecordError as error:
            raise RecordError(f"line {number} {error}") from None
        if record.epoch != number:
            raise RecordError(f"line {number} is damaged: it is of epoch {record.epoch}")
        exits = len(records[0].accuracy) if records and num_exits is None else num_exits
        exits = len(record.accuracy) if exits is None else exits
        if not len(record.accuracy) == len(record.train_accuracy) == exits or exits == 0:
            raise RecordError(f"line {number} is damaged: expected the accuracies of {exits} exits")
        if record.split != (records or [record])[0].split:
            raise RecordError(f"line {number} is damaged: its split differs from the first line's")
        records.append(record)
    return records


def epoch_values(record: HistoryRecord) -> dict[str, float]:
    """The numbers of an epoch, as tables and loggers name them; those of untrained exits are left out."""
    values = {
        "loss": record.loss,
        "learning_rate": record.learning_rate,
        "seconds": record.seconds,
        "images_per_second": record.images_per_second,
        "accuracy/mean": mean_accuracy(record),
    }
    for name, accuracies in (("train_accuracy", record.train_accuracy), ("accuracy", record.accuracy)):
        for index, accuracy in enumerate(accuracies):
            exit_name = "final_exit" if index == len(accuracies) - 1 else f"exit_{index + 1}"
            if accuracy is not None:
                values[f"{name}/{exit_name}"] = accuracy
    return values


def is_best(record: HistoryRecord, before: Sequence[HistoryRecord]) -> bool:
    """Tells whether no earlier record has a higher accuracy in the mean over the exits."""
    return mean_accuracy(record) >= max(map(mean_accuracy, before), default=0.0)


def ends_early(history: Sequence[HistoryRecord], stopping: EarlyStoppingConfig | None) -> bool:
    """Tells whether the accuracy has not risen for so many epochs that the training ends."""
    if stopping is None:
        return False
    best, waited = -math.inf, 0
    for record in history:
        accuracy = mean_accuracy(record)
        best, waited = (accuracy, 0) if accuracy > best + stopping.min_delta else (best, waited + 1)
    return waited >= stopping.patience


def mean_accuracy(record: HistoryRecord) -> float:
    """The accuracy in the mean over the exits, by which epochs are compared."""
    return sum(record.accuracy) / len(record.accuracy)


def plain_records(records: Sequence[HistoryRecord]) -> list[dict[str, Any]]:
    """The records as mappings, as the files hold them."""
    return [dataclasses.asdict(record) for record in records]


def write_history(path: Path, records: Sequence[HistoryRecord]) -> None:
    """Writes all records, atomically."""
    write_text(path, "".join(json.dumps(each, allow_nan=False) + "\n" for each in plain_records(records)))


def _parsed(line: bytes, number: int) -> Any:
    try:
        return parse_json(line)
    except RecordError as error:
        raise RecordError(f"line {number} {error}") from None
