"""The lines that tell of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenedge.training.history import HistoryRecord


def header(
    model: str, *, images: int, stored: int, image_size: int, classes: int, precision: str, device: str, out: Path
) -> str:
    """What is trained on what, and where.

    Args:
        model: such as `resnet18 with exits after layer1 (light)`.
        images: to train on.
        stored: pixels per side of the prepared images.
        image_size: pixels per side that the network sees.
        classes: of the data set.
        precision: `float32` or `bf16`.
        device: where it runs.
        out: the run directory.
    """
    size = f"{image_size} px" if stored == image_size else f"{stored} px, resized to {image_size} px"
    return f"{model}: {images} images of {size}, {classes} classes, {precision} on {device}; run directory {out}"


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
