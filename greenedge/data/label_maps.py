"""Label maps: dictionaries between a data set's own labels and class indices, kept as pickles.

`labels_map.pkl` maps the labels of a data set to class indices 0, 1, ...; `deeplake_labels_map.pkl` maps them back.
The two files of the repository are those of TinyImageNet's official layout, whose labels are wnids.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.data.safe_pickle import read_pickle
from greenedge.errors import DataError
from greenedge.files import write_atomically

Label = int | str
LABELS_MAP, REVERSE_MAP = "labels_map.pkl", "deeplake_labels_map.pkl"


def build_label_maps(labels: Sequence[Label]) -> tuple[dict[Label, int], dict[int, Label]]:
    """Both maps of a class list: its labels, sorted, get the indices 0, 1, ....

    Raises:
        DataError: no labels, a label twice, or numbers and texts mixed.
    """
    if not labels:
        raise DataError("a class list without classes gives no label map")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise DataError(f"the label {twice[0]!r} stands twice in the class list; name each class once")
    if len({type(label) for label in labels}) > 1:
        raise DataError("the class list mixes numbers and texts; give one kind of label")
    ordered = sorted(labels)
    return {label: index for index, label in enumerate(ordered)}, dict(enumerate(ordered))


def read_labels_map(path: Path) -> dict[Label, int]:
    """A map from a data set's labels to class indices, each of 0..N-1 once.

    Raises:
        DataError: not such a file, or indices that are missing, repeated or out of range.
    """
    content = _read_mapping(path)
    found: dict[Label, int] = {_label(path, label): _index(path, index) for label, index in content.items()}
    _check_indices(path, list(found.values()), len(found))
    return found


def read_reverse_map(path: Path) -> dict[int, Label]:
    """A map from class indices 0..N-1 to a data set's labels, each label once.

    Raises:
        DataError: not such a file, or indices or labels that are missing, repeated or out of range.
    """
    content = _read_mapping(path)
    found: dict[int, Label] = {_index(path, index): _label(path, label) for index, label in content.items()}
    _check_indices(path, list(found), len(content))
    twice = [label for label, count in Counter(found.values()).items() if count > 1]
    if twice:
        raise DataError(f"{path}: gives the label {twice[0]!r} to two classes")
    return found


def write_label_map(path: Path, mapping: Mapping[Any, Any]) -> None:
    """Writes a map as a pickle of a plain dict, atomically."""
    write_atomically(path, lambda temporary: _dump(temporary, dict(mapping)))


def label_of(value: Any) -> Label | None:
    """A label as data sets keep it (a number, a text, an array of one of either), or None for anything else."""
    if isinstance(value, np.ndarray | list | tuple):
        if np.size(value) != 1:
            return None
        value = np.asarray(value).item()
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _dump(path: Path, mapping: dict[Any, Any]) -> None:
    with path.open("wb") as file:
        pickle.dump(mapping, file, protocol=4)


def _read_mapping(path: Path) -> dict[Any, Any]:
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: is no label map; expected a dict between labels and class indices")
    return content


def _label(path: Path, value: Any) -> Label:
    label = label_of(value)
    if label is None:
        raise DataError(f"{path}: has {value!r} where a label belongs, a number or a text")
    return label


def _index(path: Path, value: Any) -> int:
    index = label_of(value)
    if not isinstance(index, int):
        raise DataError(f"{path}: has {value!r} where a class index belongs, a whole number")
    return index


def _check_indices(path: Path, indices: Sequence[int], classes: int) -> None:
    outside = [index for index in indices if not 0 <= index < classes]
    if outside:
        raise DataError(f"{path}: has the class index {outside[0]}, outside 0..{classes - 1} for its {classes} labels")
    twice = [index for index, count in Counter(indices).items() if count > 1]
    if twice:
        missing = min(set(range(classes)) - set(indices))
        raise DataError(f"{path}: gives the class index {twice[0]} to two labels, and {missing} to none")
