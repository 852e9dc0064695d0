"""The lines that tell of a training."""

from __future__ import annotations

from collections.abc import Sequence

from greenedge.config.describe import model_summary
from greenedge.reporting.blocks import Table
from greenedge.training.history import HistoryRecord, epoch_values
from greenedge.training.run import Run


def header(run: Run) -> str:
    """What is trained on what, and where."""
    train, image_size = run.splits.train, run.config.data.input_size
    size = (
        f"{image_size} px" if train.image_size == image_size else f"{train.image_size} px, resized to {image_size} px"
    )
    if train.originals is not None:
        size += f", {'centre' if run.settings.crops is None else 'random'} crops of originals"
    processes = run.settings.processes.count
    together = f", {processes} processes together" if processes > 1 else ""
    return (
        f"{model_summary(run.config.model)}: {len(train)} images of {size}, {len(run.splits.classes)} "
        f"classes, {run.precision} on {run.device}{together}; run directory {run.out}"
    )


def history_table(history: Sequence[HistoryRecord]) -> Table:
    """The epochs as rows of plain numbers; an exit whose loss did not count in an epoch has an empty cell there."""
    values = [epoch_values(record) for record in history]
    names = list(dict.fromkeys(name for each in values for name in each))
    rows = [
        [record.epoch, *(each.get(name, "") for name in names), record.train_labels, record.split]
        for record, each in zip(history, values, strict=True)
    ]
    return Table(["epoch", *names, "train_labels", "split"], rows)


def epoch_line(record: HistoryRecord, epochs: int) -> str:
    """Loss and accuracies after one epoch, of so many in the whole training."""

    def percents(values: Sequence[float | None]) -> str:
        return " / ".join("-" if value is None else f"{100 * value:.2f}" for value in values)

    labels = ", dominant labels" if record.train_labels == "dominant" else ""
    return (
        f"epoch {record.epoch}/{epochs}: loss {record.loss:.3f}, accuracy of each exit: "
        f"training{labels} {percents(record.train_accuracy)} %, {record.split} {percents(record.accuracy)} %; "
        f"{record.images_per_second:.0f} images/s"
    )
