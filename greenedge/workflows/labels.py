"""`greenedge labels show`, `check` and `build`."""

from __future__ import annotations

from pathlib import Path

from greenedge.config.shipped import find_label_map
from greenedge.data.label_files import check_labels_map, write_label_maps
from greenedge.data.label_maps import shown
from greenedge.data.safe_pickle import read_pickle
from greenedge.errors import DataError
from greenedge.reporting.blocks import CommandResult, Table


def show_labels(path: Path) -> CommandResult[dict[str, str]]:
    """What a label map says, in its own order.

    Raises:
        DataError: not a dict of plain values.
    """
    content = read_pickle(find_label_map(path))
    if not isinstance(content, dict):
        raise DataError(f"{path}: is no label map; expected a dict between labels and class indices")
    entries = [(_text(key), _text(value)) for key, value in content.items()]
    return CommandResult(dict(entries), (Table(["from", "to"], entries),), dict(entries))


def check_labels(path: Path, data: Path) -> list[str]:
    """Compares a map of labels to class indices with a prepared data set.

    Raises:
        DataError: the map has missing, repeated or out-of-range entries, or does not fit the data set.
    """
    return [f"{path}: fits the {check_labels_map(path, data)} classes of {data}"]


def build_labels(classes: Path, out: Path) -> list[str]:
    """Writes both maps of a class list, and tells what was there already.

    Args:
        classes: a text file with one label a line, or a prepared data set.
        out: the folder for both files.

    Raises:
        DataError: the class list cannot be used.
        UsageError: another map is there already.
    """
    files = write_label_maps(classes, out)
    return [f"{path}: " + ("written" if new else "exists already, with these labels") for path, new in files.items()]


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) < 1000 else shown(value)
