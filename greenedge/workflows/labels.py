"""`greenedge labels show`, `check` and `build`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenedge.config.shipped import find_label_map
from greenedge.data.label_maps import (
    LABELS_MAP,
    REVERSE_MAP,
    build_label_maps,
    label_map_bytes,
    ordered_label_maps,
    read_class_list,
    read_labels_map,
    shown,
    write_label_map,
)
from greenedge.data.prepared import open_prepared
from greenedge.data.safe_pickle import read_pickle
from greenedge.errors import DataError, UsageError
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

    A map that is there already with the same content is kept, so that the command can be repeated after it was killed.

    Args:
        classes: a text file with one label a line (wnids, names, or whole numbers), which are sorted, numbers as
            numbers; or a prepared data set, whose labels stay texts in the data set's own order.
        out: the folder for both files.

    Raises:
        DataError: the class list cannot be used.
        UsageError: another map is there already.
    """
    if classes.is_dir():
        maps = ordered_label_maps([info.id for info in open_prepared(classes).classes])
    else:
        maps = build_label_maps(read_class_list(classes))
    wanted: dict[Path, Mapping[Any, Any]] = {out / LABELS_MAP: maps[0], out / REVERSE_MAP: maps[1]}

    missing = [path for path in wanted if not path.exists()]
    for path, mapping in wanted.items():
        if path not in missing and (not path.is_file() or path.read_bytes() != label_map_bytes(mapping)):
            raise UsageError(f"{path}: exists already with other content; choose another --out, or remove it first")
    for path in missing:
        write_label_map(path, wanted[path])
    return [f"{path}: " + ("written" if path in missing else "exists already, with these labels") for path in wanted]


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) < 1000 else shown(value)
