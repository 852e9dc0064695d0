"""`greenedge labels show`, `check` and `build`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenedge.config.shipped import find_label_map
from greenedge.data.label_maps import (
    LABELS_MAP,
    REVERSE_MAP,
    Label,
    build_label_maps,
    label_map_bytes,
    ordered_label_maps,
    read_class_list,
    read_labels_map,
    read_reverse_map,
    shown,
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
    content = read_pickle(find_label_map(path))
    if not isinstance(content, dict):
        raise DataError(f"{path}: is no label map; expected a dict between labels and class indices")
    entries = [(_text(key), _text(value)) for key, value in content.items()]
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


def class_labels(classes: Sequence[ClassInfo], labels_map: Path | None) -> Mapping[int, Label]:
    """Class index -> the label to answer in: the data set's own, or those of a map.

    A map knows only indices, so that one of another data set, or in another order, would give wrong labels without a
    word. What can be compared with the classes is compared:

    - labels that are all among the classes' identifiers must be in the classes' order;
    - labels of which only some are identifiers belong to another set of classes;
    - labels of which none is one are refused where they look like identifiers: where all are wnids (`n` and eight
      digits), or where labels and identifiers are both texts without being wnids;
    - labels that are names of classes (`goldfish`) must be in the classes' order, too.

    Whole numbers and texts of another form than the identifiers cannot be compared and are taken as they are, which
    `unchecked_labels` says.

    Raises:
        DataError: the map is none, is not for that many classes, or is for others.
    """
    if labels_map is None:
        return {index: info.id for index, info in enumerate(classes)}
    labels = read_reverse_map(labels_map)
    if len(labels) != len(classes):
        raise DataError(f"{labels_map}: has labels for {len(labels)} classes, the network has {len(classes)}")
    texts, ids = [str(labels[index]) for index in range(len(classes))], [info.id for info in classes]

    places = {identifier: index for index, identifier in enumerate(ids)}
    known = [text for text in texts if text in places]
    if 0 < len(known) < len(texts):
        strange = next(text for text in texts if text not in places)
        raise DataError(
            f"{labels_map}: is a map of other classes: {len(known)} of its {len(texts)} labels are the network's, and "
            f"{shown(strange)} is none of them"
        )
    names: dict[str, list[int]] = {}
    for index, info in enumerate(classes):
        names.setdefault(info.name, []).append(index)
    for index, text in enumerate(texts):
        right = [places[text]] if text in places else names.get(text, [index])
        if index not in right:
            raise DataError(
                f"{labels_map}: has the classes in another order: gives class {index} the label {shown(text)}, which "
                f"is that of class {right[0]}"
            )
    if not known and not _matches(texts, names) and _looks_like_ids(texts, ids):
        raise DataError(
            f"{labels_map}: is a map of other classes: it has {shown(texts[0])} and the like, the network "
            f"{shown(ids[0])}, and not one label is in both"
        )
    return labels


def unchecked_labels(classes: Sequence[ClassInfo], labels_map: Path | None, labels: Mapping[int, Label]) -> str | None:
    """A note where nothing tells whether the labels of a map belong to the classes, as with whole numbers.

    Args:
        classes: of the network.
        labels_map: the map's file, or None.
        labels: as `class_labels` gave them.
    """
    own = {text for info in classes for text in (info.id, info.name)}
    if labels_map is None or any(str(label) in own for label in labels.values()):
        return None
    first = shown(labels[0])
    return f"note: nothing tells whether the labels of {labels_map} ({first} for class 0, {classes[0].id!r}) fit"


def _matches(texts: Sequence[str], names: Mapping[str, object]) -> bool:
    return all(text in names for text in texts)


def _looks_like_ids(texts: Sequence[str], ids: Sequence[str]) -> bool:
    forms = {_form(text) for text in texts}
    return forms == {"wnid"} or ("number" not in forms and forms == {_form(identifier) for identifier in ids})


def _form(text: str) -> str:
    if re.fullmatch("n[0-9]{8}", text):
        return "wnid"
    return "number" if re.fullmatch("-?[0-9]+", text) else "text"


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) < 1000 else shown(value)
