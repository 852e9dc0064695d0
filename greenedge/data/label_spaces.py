"""Which label stands for which class: the data set's own, or those of a map that must fit the classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenedge.data.label_maps import Label, read_reverse_map, shown
from greenedge.data.layouts import ClassInfo
from greenedge.errors import DataError


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
