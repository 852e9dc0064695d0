"""Prepared data sets: memory-mapped uint8 arrays and a manifest that describes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from greenedge.config.convert import Count, CountOrZero, Range
from greenedge.config.records import RecordError, digest_of, parse_json, read_record
from greenedge.data.arrays import ArrayError, map_array, read_array
from greenedge.data.layouts import ClassInfo
from greenedge.errors import DataError

FORMAT = 2
MANIFEST = "manifest.json"
# The first bytes of SHA-256's 32 that are kept of each image.
DIGEST_BYTES = 16


@dataclass(frozen=True)
class ImageDigests:
    """Digests that identify each image of a split in any data set.

    Attributes:
        pixels: uint8 (N, 16), the start of the SHA-256 of the stored pixels.
        sources: uint8 (N, 16), likewise of the bytes it was decoded from, equal at every size.
    """

    pixels: np.ndarray
    sources: np.ndarray


@dataclass(frozen=True)
class PreparedSplit:
    """Images of one split, all or some rows of a memory map.

    Attributes:
        name: `train`, `calibration` or `val`.
        images: uint8 (N, 3, H, W), memory-mapped, read-only.
        labels: int64 (N,).
        rows: int64 (n,): which of the N belong to this split.
        classes: in the order of the labels.
        digests: of each of the N; None for data sets of format 1, which have none.
        folder: of the data set, for messages and for the paths of the images; None for one in memory.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    classes: tuple[ClassInfo, ...]
    digests: ImageDigests | None = None
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def share(self, number: int, count: int) -> PreparedSplit:
        """Returns the split of every `count`-th image, from image `number` on; these are disjoint, and all together."""
        return dataclasses.replace(self, rows=self.rows[number::count])

    def read(self, rows: np.ndarray, *, check: bool = True) -> np.ndarray:
        """Copies some rows, as uint8 (n, 3, H, W).

        Args:
            rows: int64 (n,), of the N.
            check: compare each image with its digest, in 0.7 microseconds per kilobyte.

        Raises:
            DataError: the pixels have changed since they were prepared.
        """
        pixels: np.ndarray = np.take(self.images, rows, axis=0)
        if check and self.digests is not None:
            for row, image in zip(rows.tolist(), pixels, strict=True):
                if image_digest(image) != self.digests.pixels[row].tobytes():
                    stored = "val" if self.name == "val" else "train"
                    raise DataError(
                        f"{self.folder}: image {row} of its {stored} images is damaged; prepare the data set again"
                    )
        return pixels


@dataclass(frozen=True)
class PreparedData:
    """All splits of a prepared data set.

    Attributes:
        path: its folder.
        image_size: pixels per side of the stored images.
        classes: in the order of the labels.
        splits: those of `train` and `val` that have images.
    """

    path: Path
    image_size: int
    classes: tuple[ClassInfo, ...]
    splits: dict[str, PreparedSplit]

    def split(self, name: str) -> PreparedSplit:
        """Returns a split, which must exist.

        Raises:
            DataError: the data set was prepared without such images.
        """
        if name not in self.splits:
            raise DataError(f"{self.path}: has no {name} images; prepare it again from sources that hold some")
        return self.splits[name]


@dataclass(frozen=True)
class SplitInfo:
    """The manifest's entry of a split.

    Attributes:
        images: how many there are.
        digest: SHA-256 of its labels and of the digests of its images; empty in format 1.
        paths_digest: SHA-256 of the file of its images' paths; empty in format 1.
    """

    images: CountOrZero
    digest: str = ""
    paths_digest: str = ""


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        format: 2; format 1 has no digests and no paths.
        image_size: pixels per side of the stored images.
        classes: in the order of the labels.
        splits: `train` and `val`.
        subset: how many classes and training images per class were asked for, or null.
        sources: name, kind and digest of each source.
        versions: of the programs that prepared it.
        skipped: how many images could not be used and were left out.
        skipped_images: the paths of the first hundred of these, with the reason.
        unused: kind of file -> how many files of the sources are not images of the data set.
        read_as: the layout of the sources, for people; empty in older ones.
        notes: what is odd about the sources, a sentence each.
        val_split: the fraction and seed by which validation images were set aside; empty where the sources split.
    """

    format: Literal[1, 2]
    image_size: Annotated[int, Range(minimum=1, maximum=65_500)]
    classes: tuple[ClassInfo, ...]
    splits: dict[str, SplitInfo]
    subset: dict[str, Count | None] = field(default_factory=dict)
    sources: tuple[dict[str, Any], ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    skipped: CountOrZero = 0
    skipped_images: tuple[str, ...] = ()
    unused: dict[str, Count] = field(default_factory=dict)
    read_as: str = ""
    notes: tuple[str, ...] = ()
    val_split: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the rules between keys."""
        if not self.classes:
            raise ValueError("it has no classes")
        if len({info.id for info in self.classes}) < len(self.classes):
            raise ValueError("two of its classes have the same id")
        if not set(self.splits) <= {"train", "val"}:
            raise ValueError(f"its splits are {', '.join(self.splits)}, not train and val")


def array_path(folder: Path, split: str, what: Literal["images", "labels", "digests"]) -> Path:
    """Returns the file of a split's images, labels or digests."""
    return folder / f"{split}-{what}.npy"


def paths_file(folder: Path, split: str) -> Path:
    """Returns the file of the paths that a split's images have in their source."""
    return folder / f"{split}-paths.json"


def image_digest(image: np.ndarray) -> bytes:
    """Returns the start of the SHA-256 of an image's pixels, uint8 (3, H, W)."""
    return hashlib.sha256(image.data).digest()[:DIGEST_BYTES]


def content_digest(labels: np.ndarray, digests: ImageDigests) -> str:
    """Returns the SHA-256 of a split's labels, int64 (N,), and of the digests of its images."""
    found = hashlib.sha256()
    for array in (labels, digests.pixels, digests.sources):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def open_prepared(folder: Path) -> PreparedData:
    """Opens a prepared data set; the images stay on disk until they are read.

    Example:
        >>> data = open_prepared(Path("data/tiny-imagenet-200"))
        >>> data.split("val").read(np.arange(2)).shape
        (2, 3, 64, 64)

    Raises:
        DataError: the folder is missing, is not a prepared data set, or its files do not fit its manifest.
    """
    manifest = read_manifest(folder)
    splits = {name: _open_split(folder, name, manifest, info) for name, info in manifest.splits.items() if info.images}
    return PreparedData(folder, manifest.image_size, manifest.classes, splits)


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a prepared data set.

    Raises:
        DataError: the manifest is missing or damaged.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no prepared data set here; make one with `greenedge data prepare SOURCE --out {folder}`"
        )
    if not path.is_file():
        raise DataError(
            f"{folder}: has no {MANIFEST}, so it is not a prepared data set; if it holds images, run "
            f"`greenedge data prepare {folder} --out ANOTHER`"
        )
    try:
        return read_record(path, Manifest)
    except (RecordError, OSError) as error:
        raise DataError(f"{path}: {error}; prepare again") from None


def image_paths(split: PreparedSplit) -> list[str] | None:
    """Returns the paths of a split's images, by its rows, in their source; None where they were not kept.

    Raises:
        DataError: the file of the paths is damaged.
    """
    if split.folder is None or split.digests is None:
        return None
    stored = "val" if split.name == "val" else "train"
    path = paths_file(split.folder, stored)
    info = read_manifest(split.folder).splits[stored]
    try:
        content = path.read_bytes()
        if digest_of(content) != info.paths_digest:
            raise RecordError("is damaged")
        found: list[str] = parse_json(content)
    except (RecordError, OSError) as error:
        raise DataError(f"{path}: {error}; prepare the data set again") from None
    return [found[row] for row in split.rows.tolist()]


def check_images(folder: Path) -> dict[str, int]:
    """Reads every image of a data set and compares it with its digest.

    Returns:
        Split -> number of images that were checked; 0 where there are no digests to check them by.

    Raises:
        DataError: something was changed or truncated since it was prepared.
    """
    checked = {}
    for name, split in open_prepared(folder).splits.items():
        image_paths(split)
        for start in range(0, len(split), 256):
            split.read(split.rows[start : start + 256])
        checked[name] = 0 if split.digests is None else len(split)
    return checked


def _open_split(folder: Path, name: str, manifest: Manifest, info: SplitInfo) -> PreparedSplit:
    count, size, classes = info.images, manifest.image_size, manifest.classes
    images_path, labels_path = (array_path(folder, name, "images"), array_path(folder, name, "labels"))
    images = _opened(images_path, np.uint8, (count, 3, size, size), mapped=True)
    labels = _opened(labels_path, np.int64, (count,))
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{labels_path}: has labels outside 0..{len(classes) - 1}; prepare again")
    rows = np.arange(len(labels))
    if manifest.format == 1:
        return PreparedSplit(name, images, labels, rows, classes, folder=folder)

    both = _opened(array_path(folder, name, "digests"), np.uint8, (2, count, DIGEST_BYTES))
    digests = ImageDigests(*both)
    if content_digest(labels, digests) != info.digest:
        raise DataError(f"{folder}: its {name} labels or digests were changed or damaged; prepare the data set again")
    return PreparedSplit(name, images, labels, rows, classes, digests, folder)


def _opened(path: Path, dtype: type[np.generic], shape: tuple[int, ...], *, mapped: bool = False) -> np.ndarray:
    try:
        if mapped:
            return map_array(path, dtype, shape)
        with path.open("rb") as file:
            return read_array(file, dtype, shape)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; prepare the data set again") from None
    except ArrayError as error:
        raise DataError(f"{path}: {error}; prepare the data set again") from None


def paths_content(paths: list[str]) -> bytes:
    """Returns the content of the file of paths; names that are not UTF-8 are escaped."""
    return json.dumps(paths).encode()
