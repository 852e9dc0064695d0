"""Corrupted copies of validation images, in the layout of ImageNet-C: CORRUPTION/SEVERITY/CLASS/FILE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.data.decode import is_image_name
from greenedge.data.layouts import ClassInfo
from greenedge.data.prepared import PreparedSplit, image_paths
from greenedge.data.walk import is_junk
from greenedge.errors import DataError, UsageError

LAYOUT = "CORRUPTION/SEVERITY/CLASS/*.JPEG"


@dataclass(frozen=True, eq=False)
class CorruptedSet:
    """Images of one corruption at one severity.

    Attributes:
        corruption: such as `gaussian_noise`.
        severity: 1 is the mildest.
        images: files, by class and name.
        labels: int64 (N,), class indices.
    """

    corruption: str
    severity: int
    images: tuple[Path, ...]
    labels: np.ndarray

    def __repr__(self) -> str:
        return f"CorruptedSet({self.corruption} {self.severity}: {len(self.images)} images)"


def find_corrupted(root: Path, classes: Sequence[ClassInfo], named: Sequence[str] = ()) -> tuple[CorruptedSet, ...]:
    """Lists the sets of a folder, by corruption and severity (Hendrycks and Dietterich 2019), opening no image.

    Args:
        root: holds a folder for each corruption.
        classes: of the network; folders are named by their ids, and some may be missing.
        named: the corruptions to take; empty: all.

    Raises:
        DataError: the folder is missing, of another layout, or has a class that the network does not know.
        UsageError: a corruption that is named is not there.
    """
    labels = {each.id: index for index, each in enumerate(classes)}
    corruptions = {folder.name: folder for folder in _folders(root)}
    for name in named:
        if name not in corruptions:
            raise UsageError(f"{root}: has no corruption {name!r}; it has {', '.join(corruptions) or 'none'}")
    found = []
    for name in named or corruptions:
        severities = _folders(corruptions[name])
        for folder in severities:
            if not folder.name.isdecimal():
                raise DataError(f"{folder}: is no severity, such as 1; expected {root}/{LAYOUT}")
        for folder in sorted(severities, key=lambda each: int(each.name)):
            found.append(_read_set(name, folder, labels))
    if not found:
        raise DataError(f"{root}: holds no corrupted images; expected {root}/{LAYOUT}")
    return tuple(found)


def clean_rows(split: PreparedSplit, sets: Sequence[CorruptedSet]) -> np.ndarray | None:
    """Finds the clean images that corrupted ones were made of, by class and the file's name without its ending.

    Args:
        split: the clean images.
        sets: the corrupted ones.

    Returns:
        int64 (n,): positions in the split, rising. None where not every corrupted image has a clean one, or where it
        cannot be told.
    """
    paths = image_paths(split)
    if paths is None:
        return None
    keys = list(zip(split.labels[split.rows].tolist(), (Path(path).stem for path in paths), strict=True))
    places = {key: place for place, key in enumerate(keys)}
    wanted = {
        (label, path.stem) for each in sets for label, path in zip(each.labels.tolist(), each.images, strict=True)
    }
    if len(places) != len(keys) or not wanted <= places.keys():
        return None
    return np.array(sorted(places[key] for key in wanted))


def _read_set(corruption: str, folder: Path, labels: dict[str, int]) -> CorruptedSet:
    images: list[Path] = []
    indices: list[int] = []
    for of_class in _folders(folder):
        if of_class.name not in labels:
            raise DataError(
                f"{of_class}: {of_class.name!r} is not among the {len(labels)} classes of the network; expected "
                f"folders named like {next(iter(labels))!r}"
            )
        files = [path for path in _entries(of_class) if is_image_name(path.name)]
        images += files
        indices += [labels[of_class.name]] * len(files)
    if not images:
        raise DataError(f"{folder}: holds no images in class folders; expected {LAYOUT}")
    return CorruptedSet(corruption, int(folder.name), tuple(images), np.array(indices, dtype=np.int64))


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, by name, without hidden and system files."""
    try:
        return sorted(path for path in folder.iterdir() if not is_junk(path.name))
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from None
