"""Reads the classes of the images in WebDataset shards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from greenedge.data.entries import Entry
from greenedge.data.problems import ProblemsError
from greenedge.data.roots import SPLIT_NAMES
from greenedge.data.walk import read_regular_file
from greenedge.errors import DataError

# A file beside the shards that names the classes in index order, one a line.
CLASSES_FILE = "classes.txt"
_LABEL_KEYS = ("label", "class", "cls")  # of the JSON of an image
_MAX_LABEL = 1000


def cls_label(content: bytes, where: str) -> str:
    """Reads the class of a `.cls` file, called `where` in messages.

    Raises:
        DataError: it holds none.
    """
    try:
        label = content.decode("utf-8-sig").strip() if len(content) <= _MAX_LABEL else ""
    except UnicodeDecodeError:
        label = ""
    if not label or not label.isprintable():
        raise DataError(f"{where}: holds no class; expected a whole number or a name in UTF-8, found {content[:20]!r}")
    return label


def json_label(content: bytes) -> str | None:
    """Reads the class of a JSON file; None where it holds none."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, Mapping):
        return None
    label = next((value[key] for key in _LABEL_KEYS if key in value), None)
    if isinstance(label, bool) or not isinstance(label, int | str):
        return None
    text = str(label).strip()
    return text if 0 < len(text) <= _MAX_LABEL and text.isprintable() else None


def named(entries: Sequence[Entry], classes: Sequence[str] | None, locate: Callable[[str], str]) -> list[Entry]:
    """Brings classes to one form: names where there is a list of these, else all numbers or all names.

    Args:
        entries: images with their classes as the shards have them.
        classes: the list, in index order; None for none.
        locate: names an image for messages.

    Raises:
        DataError: some are numbers and some are names.
        ProblemsError: some are not in the list.
    """
    numbers = [entry for entry in entries if _is_number(entry.label)]
    if classes is None:
        if 0 < len(numbers) < len(entries):
            other = next(entry for entry in entries if not _is_number(entry.label))
            raise DataError(
                f"{locate(other.path)}: has the class {other.label!r}, but {locate(numbers[0].path)} has the number "
                f"{numbers[0].label}; use one of the two, or list the names in {CLASSES_FILE} beside the shards"
            )
        return [replace(entry, label=str(int(entry.label))) for entry in numbers] or list(entries)

    known = set(classes)
    named, problems = [], []
    for entry in entries:
        label = entry.label
        if _is_number(label) and int(label) < len(classes):
            label = classes[int(label)]
        if label in known:
            named.append(replace(entry, label=label))
        else:
            problems.append(f"{locate(entry.path)}: has the class {entry.label!r}, which is not in {CLASSES_FILE}")
    if problems:
        raise ProblemsError(
            problems, f"{len(problems)} images have a class that is not in {CLASSES_FILE}", "correct that file"
        )
    return named


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdigit()


def classes_beside(shards: Sequence[Path]) -> tuple[str, ...] | None:
    """Reads the names of the classes beside shards, or above folders that are splits; None where there are none.

    Raises:
        DataError: the file is invalid, or shards have different ones.
    """
    folders = {shard.parent.parent if split_of_folder(shard) else shard.parent for shard in shards}
    files = sorted(folder / CLASSES_FILE for folder in folders if (folder / CLASSES_FILE).is_file())
    found = None
    for file in files:
        try:
            lines = read_regular_file(file).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError(f"{file}: is not UTF-8 text; expected the name of a class on each line") from None
        names = tuple(line.strip() for line in lines if line.strip())
        if len(set(names)) < len(names):
            name = Counter(names).most_common(1)[0][0]
            raise DataError(f"{file}: names {name!r} twice; expected the name of each class on a line of its own")
        if found is not None and names != found:
            raise DataError(f"{file}: names other classes than {files[0]}; prepare these shards separately")
        found = names
    return found


def split_of_folder(shard: Path) -> str:
    """Returns the split that the folder of a shard is; empty for none."""
    return SPLIT_NAMES.get(shard.resolve().parent.name.lower(), "")
