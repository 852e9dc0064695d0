"""`greenedge labels show`, `check` and `build`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from greenedge.data.label_maps import (
    LABELS_MAP,
    REVERSE_MAP,
    Label,
    build_label_maps,
    read_labels_map,
    read_reverse_map,
    write_label_map,
)
from greenedge.data.layouts import ClassInfo
from greenedge.data.prepared import open_prepared
from greenedge.data.safe_pickle import read_pickle
from greenedge.errors import DataError, UsageError
from greenedge.reporting.tables import format_table
from greenedge.workflows.report import Report


def show_labels(path: Path) -> Report:
    """What a label map says, in its own order.

    Raises:
        DataError: not a dict of plain values.
    """
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: is no label map; expected a dict between labels and class indices")
    entries = [(str(key), str(value)) for key, value in content.items()]
    return Report(format_table(["from", "to"], entries), dict(entries))


def check_labels(path: Path, data: Path) -> list[str]:
    """Compares a map of labels to class indices with a prepared data set.

    Raises:
        DataError: the map has missing, repeated or out-of-range entries, or does not fit the data set.
    """
    found = {str(label): index for label, index in read_labels_map(path).items()}
    classes = open_prepared(data).classes
    for index, info in enumerate(classes):
        if info.id not in found:
            raise DataError(f"{path}: lacks the label {info.id!r} of {data}")
        if found[info.id] != index:
            raise DataError(f"{path}: gives {info.id!r} the class {found[info.id]}, in {data} it is {index}")
    if len(found) > len(classes):
        raise DataError(f"{path}: has {len(found)} labels, {data} has only {len(classes)} classes")
    return [f"{path}: fits the {len(classes)} classes of {data}"]


def build_labels(classes: Path, out: Path) -> list[str]:
    """Writes both maps of a class list.

    Args:
        classes: a text file with one label a line (wnids, names, or whole numbers), or a prepared data set.
        out: the folder for both files.

    Raises:
        DataError: the class list cannot be used.
        UsageError: a map is there already.
    """
    paths = out / LABELS_MAP, out / REVERSE_MAP
    for path in paths:
        if path.exists():
            raise UsageError(f"{path}: exists already; choose another --out, or remove it first")
    labels_map, reverse_map = build_label_maps(_class_list(classes))
    write_label_map(paths[0], labels_map)
    write_label_map(paths[1], reverse_map)
    return [f"{path}: written" for path in paths]


def class_labels(classes: Sequence[ClassInfo], labels_map: Path | None) -> Mapping[int, Label]:
    """Class index -> the label to answer in: the data set's own, or those of a map.

    Raises:
        DataError: the map is none, or is not for that many classes.
    """
    if labels_map is None:
        return {index: info.id for index, info in enumerate(classes)}
    labels = read_reverse_map(labels_map)
    if len(labels) != len(classes):
        raise DataError(f"{labels_map}: has labels for {len(labels)} classes, the network has {len(classes)}")
    return labels


def _class_list(path: Path) -> list[Label]:
    if path.is_dir():
        return _as_numbers([info.id for info in open_prepared(path).classes])
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; expected one label a line") from None
    return _as_numbers([line.strip() for line in lines if line.strip()])


def _as_numbers(labels: list[str]) -> list[Label]:
    """Whole numbers where all labels are, else the texts."""
    if all(label.isdecimal() for label in labels):
        return [int(label) for label in labels]
    return list(labels)
