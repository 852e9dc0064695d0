"""Reads data sets pickled like the paper's: a dict of `images` (arrays H x W x 3) and `labels` for each split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.data.label_maps import Label, build_label_maps, label_of, read_labels_map, shown
from greenedge.data.layouts import SPLITS, ClassInfo, Listing, Record
from greenedge.data.safe_pickle import read_pickle
from greenedge.errors import DataError


class PickledSource:
    """A data set in pickles, one per split, whose names start with `train` or `val`.

    The images are kept as in the pickle; each is converted when it is loaded.

    Args:
        paths: the pickles.
        labels_map: a file from their labels to class indices; None: the training labels, sorted, get 0, 1, ....

    Attributes:
        listing: classes named by their labels, and the records of each split.

    Raises:
        DataError: a pickle is damaged, unsafe or of another structure, or has unequal lengths or an unknown label.
    """

    def __init__(self, paths: Sequence[Path], labels_map: Path | None) -> None:
        self._paths: dict[str, Path] = {}
        for path in paths:
            split = next((name for name in SPLITS if path.name.startswith(name)), None)
            if split is None or split in self._paths:
                raise DataError(f"{path}: expected one pickle per split, named train*.pkl and val*.pkl")
            self._paths[split] = path
        self._images: dict[str, Sequence[Any]] = {}
        labels: dict[str, list[Label]] = {}
        for split, path in self._paths.items():
            self._images[split], labels[split] = _read(path)

        index = _class_indices(labels, labels_map)
        ordered = sorted(index, key=index.__getitem__)
        classes = tuple(ClassInfo(str(label), str(label)) for label in ordered)
        where = f"in the label map {labels_map}" if labels_map else "among the training labels"
        splits = {name: self._records(name, labels.get(name, []), index, where) for name in SPLITS}
        self.listing = Listing(classes, splits)

    def image(self, record: Record) -> np.ndarray:
        """Returns an image as in the pickle, of any type and shape.

        Raises:
            DataError: it is not an array of numbers, such as a list whose rows differ in length.
        """
        split, number = record.path.split("/")
        try:
            return np.asarray(self._images[split][int(number)])
        except (ValueError, TypeError, OverflowError):
            raise DataError(
                f"{self.locate(record)}: is not an image: expected an array, uint8 (H, W, 3), or (H, W) for grey"
            ) from None

    def locate(self, record: Record) -> str:
        """Names an image for messages."""
        split, number = record.path.split("/")
        return f"{self._paths[split]}: image {number}"

    def digests(self) -> list[dict[str, Any]]:
        """Returns the name and SHA-256 of each pickle."""
        found = []
        for path in self._paths.values():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append({"name": path.name, "kind": "pickle", "sha256": digest})
        return found

    def _records(
        self, split: str, labels: Sequence[Label], index: Mapping[Label, int], where: str
    ) -> tuple[Record, ...]:
        # A map may keep numbers as texts.
        texts = {str(label): class_index for label, class_index in index.items()}
        for number, label in enumerate(labels):
            if str(label) not in texts:
                raise DataError(
                    f"{self._paths[split]}: image {number} has the label {shown(label)}, which is not {where}"
                )
        return tuple(Record(f"{split}/{number}", texts[str(label)]) for number, label in enumerate(labels))


def _read(path: Path) -> tuple[Sequence[Any], list[Label]]:
    content = read_pickle(path)
    if not isinstance(content, dict) or not {"images", "labels"} <= content.keys():
        raise DataError(f"{path}: is not a pickled data set; expected a dict with 'images' and 'labels'")
    images, given = content["images"], content["labels"]
    for name, values in (("images", images), ("labels", given)):
        if not isinstance(values, list | tuple | np.ndarray):
            raise DataError(f"{path}: its {name} are a {type(values).__name__}, not a list or an array")
        if isinstance(values, np.ndarray) and values.ndim == 0:
            raise DataError(f"{path}: its {name} are one number, not a list or an array")
    if len(images) != len(given):
        raise DataError(f"{path}: has {len(images)} images and {len(given)} labels; the numbers must be equal")
    if len(images) == 0 or (isinstance(images, np.ndarray) and images.size == 0):
        raise DataError(f"{path}: has no images")

    labels = [label_of(value) for value in given]
    for number, label in enumerate(labels):
        if label is None:
            raise DataError(f"{path}: image {number} has the label {shown(given[number])}, not one number or text")
    return images, [label for label in labels if label is not None]


def _class_indices(labels: Mapping[str, Sequence[Label]], labels_map: Path | None) -> dict[Label, int]:
    if labels_map is not None:
        return read_labels_map(labels_map)
    known = labels.get("train") or labels["val"]
    return build_label_maps(list(dict.fromkeys(known)))[0]
