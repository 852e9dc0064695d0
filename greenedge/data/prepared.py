"""A prepared data set: memory-mapped uint8 arrays and a manifest that says what they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from greenedge.data.layouts import ClassInfo
from greenedge.errors import DataError

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PreparedSplit:
    """Images of one split, all or some rows of a memory map.

    Attributes:
        name: `train`, `calibration` or `val`.
        images: uint8 (N, 3, H, W), memory-mapped.
        labels: int64 (N,).
        rows: int64 (n,): which of the N belong to this split.
        classes: in the order of the labels.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    classes: tuple[ClassInfo, ...]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class PreparedData:
    """All splits of a prepared data set.

    Attributes:
        path: its folder.
        classes: in the order of the labels.
        splits: `train` and `val`, those that have images.
    """

    path: Path
    classes: tuple[ClassInfo, ...]
    splits: dict[str, PreparedSplit]

    def split(self, name: str) -> PreparedSplit:
        """The split, which must exist.

        Raises:
            DataError: the data set was prepared without such images.
        """
        if name not in self.splits:
            raise DataError(f"{self.path}: has no {name} images; prepare it again from sources that hold some")
        return self.splits[name]


def array_paths(folder: Path, split: str) -> tuple[Path, Path]:
    """Where a split's images and labels lie."""
    return folder / f"{split}-images.npy", folder / f"{split}-labels.npy"


def open_prepared(folder: Path) -> PreparedData:
    """Opens a prepared data set; the images stay on disk until they are read.

    Raises:
        DataError: the folder is missing, is no prepared data set, or its files do not fit its manifest.
    """
    manifest_path = folder / MANIFEST
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no prepared data set here; make one with `greenedge data prepare SOURCE --out {folder}`"
        )
    if not manifest_path.is_file():
        raise DataError(
            f"{folder}: has no {MANIFEST}, so it is not a prepared data set; if it holds images, run "
            f"`greenedge data prepare {folder} --out ANOTHER`"
        )
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        version, size = manifest["format"], manifest["image_size"]
        classes = tuple(ClassInfo(entry["id"], entry["name"]) for entry in manifest["classes"])
        counts = {name: int(split["images"]) for name, split in manifest["splits"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{manifest_path}: is not a manifest of greenedge ({error!r}); prepare again") from None
    if version != FORMAT:
        raise DataError(f"{folder}: was prepared in format {version}, this is format {FORMAT}; prepare again")
    splits = {
        name: _open_split(folder, name, (count, 3, size, size), classes) for name, count in counts.items() if count
    }
    return PreparedData(folder, classes, splits)


def _open_split(folder: Path, name: str, shape: tuple[int, ...], classes: tuple[ClassInfo, ...]) -> PreparedSplit:
    images_path, labels_path = array_paths(folder, name)
    # Copy-on-write, so that torch may wrap the array; nothing ever writes to it.
    images = _load(images_path, "c")
    labels = _load(labels_path, None)
    if images.shape != shape or images.dtype != np.uint8:
        raise DataError(f"{images_path}: holds {images.dtype} {images.shape}, not uint8 {shape}; prepare again")
    if labels.shape != shape[:1] or labels.dtype != np.int64:
        raise DataError(f"{labels_path}: holds {labels.dtype} {labels.shape}, not int64 {shape[:1]}; prepare again")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{labels_path}: has labels outside 0..{len(classes) - 1}; prepare again")
    return PreparedSplit(name, images, labels, np.arange(len(labels)), classes)


def _load(path: Path, mmap_mode: str | None) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)  # type: ignore[arg-type]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; prepare the data set again") from None
    except (ValueError, EOFError, SyntaxError, TokenError):  # what numpy's header parser raises
        raise DataError(f"{path}: is damaged or cut short; prepare the data set again") from None
    return array
