"""The two label maps of a data set's classes, as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenedge.data.label_maps import (
    LABELS_MAP,
    REVERSE_MAP,
    build_label_maps,
    label_map_bytes,
    ordered_label_maps,
    read_class_list,
    read_labels_map,
    write_label_map,
)
from greenedge.data.prepared import open_prepared
from greenedge.errors import DataError, UsageError


def check_labels_map(path: Path, data: Path) -> int:
    """Compares a map of labels to class indices with a prepared data set.

    Returns:
        the number of classes, all of which it fits.

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
    return len(classes)


def write_label_maps(classes: Path, out: Path) -> dict[Path, bool]:
    """Writes both maps of a class list.

    A map that is there already with the same content is kept, so that this can be repeated after it was killed.

    Args:
        classes: a text file with one label a line (wnids, names, or whole numbers), which are sorted, numbers as
            numbers; or a prepared data set, whose labels stay texts in the data set's own order.
        out: the folder for both files.

    Returns:
        the files, and whether each was written now.

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
    return {path: path in missing for path in wanted}
