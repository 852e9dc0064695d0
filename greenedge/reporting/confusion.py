"""The confusion of classes, beside what `greenedge eval` says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from greenedge.exits.confusion import Confusion
from greenedge.files import write_atomically
from greenedge.reporting.blocks import CommandResult, Table
from greenedge.reporting.names import short_name
from greenedge.reporting.tables import write_csv

R = TypeVar("R")


def with_confusion(
    result: CommandResult[R],
    confusion: Confusion,
    labels: Mapping[int, int | str],
    names: Sequence[str],
    exit_names: Sequence[str],
) -> CommandResult[R]:
    """Adds the accuracy of each class, and the pairs of classes that the final exit confuses most.

    Args:
        result: whose JSON is an object.
        confusion: of E exits.
        labels: class index -> its label.
        names: (C,), readable names of the classes.
        exit_names: (E,), of the exits.
    """
    pairs = confusion.most_confused()
    counts = {pair: confusion.counts[:, pair[0], pair[1]].tolist() for pair in pairs}
    keys = {
        "classes": [
            {"label": labels[index], "images": images, "accuracy": accuracies}
            for index, (images, accuracies) in enumerate(_per_class(confusion))
        ],
        "most_confused": [
            {"label": labels[true], "prediction": labels[predicted], "images": counts[true, predicted]}
            for true, predicted in pairs
        ],
    }
    shown = [
        f"{labels[index]} {short_name(name)}" if name != labels[index] else name for index, name in enumerate(names)
    ]
    rows = [[shown[true], shown[predicted], *counts[true, predicted]] for true, predicted in pairs]
    table = Table(["true class", "predicted", *exit_names], rows)
    words = (
        "the pairs of classes that the final exit confuses most, and at how many images each exit does:"
        if pairs
        else "the final exit confuses none"
    )
    assert isinstance(result.json, dict)
    json: dict[str, Any] = {**result.json, **keys}
    return replace(result, json=json, blocks=(*result.blocks, words, *([table] if pairs else [])))


def write_confusion(confusion: Confusion, ids: Sequence[str], names: Sequence[str], files: tuple[Path, str]) -> str:
    """Writes per-class-SPLIT.csv, confusion-SPLIT.npz and confusion-SPLIT.png.

    Args:
        confusion: of E exits and C classes.
        ids: (C,), identifiers of the classes.
        names: (C,), their readable names.
        files: the folder, and the name of the split.

    Returns:
        A sentence that names the files.
    """
    from greenedge.reporting.confusion_plot import plot_confusion  # matplotlib, which an eval without it does without
    from greenedge.reporting.figures import save_figure

    folder, split = files
    exits = range(1, len(confusion.counts) + 1)
    table, matrix, figure = (
        folder / name for name in (f"per-class-{split}.csv", f"confusion-{split}.npz", f"confusion-{split}.png")
    )
    rows = [
        [identifier, name, images, *("" if each is None else each for each in accuracies)]
        for identifier, name, (images, accuracies) in zip(ids, names, _per_class(confusion), strict=True)
    ]
    write_csv(table, ["class", "name", "images", *(f"accuracy_{exit}" for exit in exits)], rows)
    write_atomically(matrix, lambda temporary: _save(temporary, confusion, ids))
    save_figure(plot_confusion(confusion, names), figure)
    return f"written: {table}, {matrix} and {figure}"


def _per_class(confusion: Confusion) -> list[tuple[int, list[float | None]]]:
    """Of each class, its images and the accuracy of each exit; None where there are no images."""
    accuracies = confusion.class_accuracies().T.tolist()
    shown = [[None if math.isnan(each) else each for each in of_class] for of_class in accuracies]
    return list(zip(confusion.images.tolist(), shown, strict=True))


def _save(path: Path, confusion: Confusion, ids: Sequence[str]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, counts=confusion.counts, classes=np.array(ids, dtype=str))
