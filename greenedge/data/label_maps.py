"""Label maps: dictionaries between a data set's own labels and class indices, kept as pickles.

`labels_map.pkl` maps the labels of a data set to class indices 0, 1, ...; `deeplake_labels_map.pkl` maps them back.
The two files of the repository belong to TinyImageNet's official layout, whose labels are wnids.
"""

from __future__ import annotations

import pickle
import re
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.config.shipped import find_label_map
from greenedge.data.safe_pickle import read_pickle
from greenedge.errors import DataError
from greenedge.files import write_bytes

Label = int | str
LABELS_MAP, REVERSE_MAP = "labels_map.pkl", "deeplake_labels_map.pkl"

_LARGEST_LIST = 64_000_000  # bytes
_LARGEST_MAP = 64_000_000
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxlong = _SHOWN.maxother = 60


def build_label_maps(labels: Sequence[Label]) -> tuple[dict[Label, int], dict[int, Label]]:
    """Builds both maps of a class list, whose sorted labels get the indices 0, 1, ....

    Numbers are sorted as numbers and texts as texts.

    Raises:
        DataError: no labels, a label twice, or numbers and texts mixed.
    """
    if len({type(label) for label in labels}) > 1:
        raise DataError("the class list mixes numbers and texts; give one kind of label")
    # A list with duplicates keeps its order, so that the error names the first of them.
    twice = [label for label, count in Counter(labels).items() if count > 1]
    return ordered_label_maps(labels if twice else sorted(labels))


def ordered_label_maps(labels: Sequence[Label]) -> tuple[dict[Label, int], dict[int, Label]]:
    """Builds both maps of labels that are already in order, like the classes of a prepared data set.

    Raises:
        DataError: no labels, or a label twice.
    """
    if not labels:
        raise DataError("the class list is empty; a label map needs at least one class")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise DataError(f"the label {shown(twice[0])} is in the class list twice; name each class once")
    return {label: index for index, label in enumerate(labels)}, dict(enumerate(labels))


def read_class_list(path: Path) -> list[Label]:
    """Reads the labels of a text file, one per line: numbers if all are whole numbers, otherwise texts.

    Raises:
        DataError: not a file of UTF-8 text, which may start with a byte order mark.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is not a file; expected a text file with one label per line")
    if path.stat().st_size > _LARGEST_LIST:
        raise DataError(f"{path}: is too large for a class list; expected one label per line")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; expected one label per line") from None
    labels = [line.strip() for line in lines if line.strip()]
    # Only labels that read back the same are numbers: 007 remains a text.
    if all(re.fullmatch("0|-?[1-9][0-9]{0,17}", label) for label in labels):
        return [int(label) for label in labels]
    return list(labels)


def read_labels_map(path: Path) -> dict[Label, int]:
    """Reads a map from a data set's labels to class indices, each of 0..N-1 once.

    Raises:
        DataError: the file is not a label map, or has indices that are missing, repeated or out of range.
    """
    content = _read_mapping(path)
    labels = [_label(path, label) for label in content]
    _check_labels(path, labels)
    found = dict(zip(labels, (_index(path, index) for index in content.values()), strict=True))
    _check_indices(path, list(found.values()), len(found))
    return found


def read_reverse_map(path: Path) -> dict[int, Label]:
    """Reads a map from class indices 0..N-1 to a data set's labels, each label once.

    Raises:
        DataError: the file is not a label map, or has indices or labels that are missing, repeated or out of range.
    """
    content = _read_mapping(path)
    found: dict[int, Label] = {_index(path, index): _label(path, label) for index, label in content.items()}
    _check_indices(path, list(found), len(content))
    _check_labels(path, list(found.values()))
    return found


def write_label_map(path: Path, mapping: Mapping[Any, Any]) -> None:
    """Writes a map as a pickle of a plain dict, atomically."""
    write_bytes(path, label_map_bytes(mapping))


def label_map_bytes(mapping: Mapping[Any, Any]) -> bytes:
    """Returns the content of a map's file, which is the same for equal maps."""
    return pickle.dumps(dict(mapping), protocol=4)


def shown(value: Any) -> str:
    """Formats a value for a message, shortened where it is long."""
    return " ".join(_SHOWN.repr(value).split())


def label_of(value: Any) -> Label | None:
    """Returns the label that a number, a text, or an array of one of either holds; None for anything else."""
    while isinstance(value, np.ndarray | list | tuple):
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        elif not isinstance(value, np.ndarray) and len(value) == 1:
            value = value[0]
        else:
            return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return value if isinstance(value, int) or _is_text(value) else None


def _is_text(value: str) -> bool:
    """Tells whether a text can be a label: it is not blank and has no lone surrogates."""
    return value.strip() != "" and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _read_mapping(path: Path) -> dict[Any, Any]:
    path = find_label_map(path)
    if path.is_file() and path.stat().st_size > _LARGEST_MAP:
        raise DataError(f"{path}: is too large for a label map")
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: is not a label map; expected a dict between labels and class indices")
    return content


def _label(path: Path, value: Any) -> Label:
    label = label_of(value)
    if label is None:
        raise DataError(f"{path}: has {shown(value)} in place of a label; expected a number or a text")
    return label


def _index(path: Path, value: Any) -> int:
    index = label_of(value)
    if not isinstance(index, int):
        raise DataError(f"{path}: has {shown(value)} in place of a class index; expected a whole number")
    return index


def _check_labels(path: Path, labels: Sequence[Label]) -> None:
    """Refuses a label that occurs twice, also as a number and as a text, since class names are texts."""
    twice = [text for text, count in Counter(map(str, labels)).items() if count > 1]
    if twice:
        label = next(label for label in labels if str(label) == twice[0])
        raise DataError(f"{path}: gives the label {shown(label)} to two classes")


def _check_indices(path: Path, indices: Sequence[int], classes: int) -> None:
    outside = [index for index in indices if not 0 <= index < classes]
    if outside:
        raise DataError(
            f"{path}: has the class index {shown(outside[0])}, outside 0..{classes - 1} for its {classes} labels"
        )
    twice = [index for index, count in Counter(indices).items() if count > 1]
    if twice:
        missing = min(set(range(classes)) - set(indices))
        raise DataError(f"{path}: gives the class index {twice[0]} to two labels, and {missing} to none")
