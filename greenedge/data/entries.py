"""Turns a plain list of images and their classes, as tables and shards give it, into a listing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.data.layouts import SPLITS, ClassInfo, Listing, Record
from greenedge.errors import DataError

# Lower-case name of a split -> how well it serves for validation; of several, the first is taken.
VAL_NAMES = ("val", "valid", "validation", "dev", "test")
TRAIN_NAMES = ("train", "training")


@dataclass(frozen=True)
class Entry:
    """One image of a source.

    Attributes:
        path: unique in the source.
        label: the identifier of its class.
        split: as the source names it, in lower case; empty where it names none.
    """

    path: str
    label: str
    split: str


def list_entries(where: Path, entries: Sequence[Entry], read_as: str, classes: Sequence[str] | None = None) -> Listing:
    """Lists images by split and class.

    Args:
        where: the source, for messages.
        entries: its images.
        read_as: the layout's name.
        classes: in index order; None: those of the entries, numbers by value and texts by spelling.

    Raises:
        DataError: a split has an unknown name, there are fewer than two classes, or one has no training images.
    """
    found = {entry.split for entry in entries}
    unknown = sorted(found - {"", *VAL_NAMES, *TRAIN_NAMES})
    if unknown:
        raise DataError(f"{where}: has a split {unknown[0]!r}; expected {', '.join(('train', *VAL_NAMES))}")
    val = next((name for name in VAL_NAMES if name in found), None)
    splits = {"": "train", **dict.fromkeys(TRAIN_NAMES, "train")} | ({val: "val"} if val else {})
    if "" in found and len(found) > 1:
        raise DataError(f"{where}: some images have a split and some have none; name the split of each")

    used = [entry for entry in entries if entry.split in splits]
    identifiers = list(classes) if classes is not None else sorted({entry.label for entry in used}, key=_by_value)
    if len(identifiers) < 2:
        raise DataError(f"{where}: has {len(identifiers)} classes; expected at least two")
    index = {identifier: label for label, identifier in enumerate(identifiers)}
    listed: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for entry in sorted(used, key=lambda entry: entry.path):
        listed[splits[entry.split]].append(Record(entry.path, index[entry.label]))

    trained = {record.label for record in listed["train"]}
    for identifier, label in index.items():
        if trained and label not in trained:
            raise DataError(f"{where}: class {identifier!r} has no training images; add some, or remove the class")
    said = read_as + (f", validation images from {val!r}" if val else "")
    unused = {f"{name}/": sum(entry.split == name for entry in entries) for name in sorted(found - splits.keys())}
    return Listing(
        tuple(ClassInfo(name, name) for name in identifiers),
        {split: tuple(records) for split, records in listed.items()},
        unused,
        said,
        unsplit=not val and found == {""},
    )


def split_of_name(name: str) -> str:
    """Returns the split that a file's name begins with, such as `train` of `train-00000.tar`; empty for none.

    A name that begins otherwise may have one split among its words, as `pets-train-00000.tar` has.
    """
    words = [word for word in re.split("[^a-z]+", name.lower()) if word]
    found = [word for word in words if word in (*TRAIN_NAMES, *VAL_NAMES)]
    begins = bool(found) and name.lower().startswith(found[0])
    return found[0] if begins or len(set(found)) == 1 else ""


def _by_value(identifier: str) -> tuple[bool, int, str]:
    is_number = identifier.isascii() and identifier.isdigit()
    return not is_number, int(identifier) if is_number else 0, identifier
