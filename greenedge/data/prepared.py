"""Prepared data sets: memory-mapped uint8 arrays, or image files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from greenedge.config.records import RecordError, digest_of, parse_json
from greenedge.data.arrays import ArrayError, map_array, map_bytes, read_array
from greenedge.data.crops import RandomCrops
from greenedge.data.layouts import ClassInfo
from greenedge.data.manifest import Manifest, SplitInfo, read_manifest
from greenedge.data.originals import ORIGINALS, Originals
from greenedge.errors import DataError

# The first bytes of SHA-256's 32 that are kept of each image.
DIGEST_BYTES = 16
_CHECKED_AT_ONCE = 64


@dataclass(frozen=True)
class ImageDigests:
    """Digests that identify each image of a split in any data set.

    Attributes:
        pixels: uint8 (N, 16), the start of the SHA-256 of what is stored: the pixels, or of originals the file.
        sources: uint8 (N, 16), likewise of the bytes it was decoded from, equal at every size.
    """

    pixels: np.ndarray
    sources: np.ndarray


@dataclass(frozen=True)
class PreparedSplit:
    """Images of one split, all or some of those that are stored, in either store.

    Attributes:
        name: `train`, `calibration` or `val`.
        images: uint8 (N, 3, H, W), memory-mapped, read-only; none, (0, 3, S, S), of originals. `read` knows both.
        labels: int64 (N,).
        rows: int64 (n,): which of the N belong to this split.
        classes: in the order of the labels.
        digests: of each of the N; None for data sets of format 1, which have none.
        folder: of the data set, for messages and for the paths of the images; None for one in memory.
        originals: the files that images are decoded from when they are read; None where they are in `images`.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    classes: tuple[ClassInfo, ...]
    digests: ImageDigests | None = None
    folder: Path | None = None
    originals: Originals | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_size(self) -> int:
        """Pixels per side of the images that are read."""
        return int(self.images.shape[-1])

    def sized(self, size: int) -> PreparedSplit:
        """Returns the split with originals decoded to another size; images that are stored at one size keep it."""
        if self.originals is None:
            return self
        return dataclasses.replace(
            self,
            images=np.empty((0, 3, size, size), np.uint8),
            originals=dataclasses.replace(self.originals, image_size=size),
        )

    def share(self, number: int, count: int) -> PreparedSplit:
        """Returns the split of every `count`-th image, from image `number` on; these are disjoint, and all together."""
        return dataclasses.replace(self, rows=self.rows[number::count])

    def read(self, rows: np.ndarray, *, check: bool = True, crops: RandomCrops | None = None) -> np.ndarray:
        """Copies or decodes some rows, as uint8 (n, 3, H, W). Safe to call from several threads.

        Args:
            rows: int64 (n,), of the N.
            check: compare what is stored of each image with its digest, in 0.7 microseconds per kilobyte.
            crops: which part of each original to take; None: the largest square at the centre.

        Raises:
            DataError: an image has changed since it was prepared.
        """
        if self.originals is not None:
            decoded = np.empty((len(rows), *self.images.shape[1:]), np.uint8)
            for place, row in enumerate(rows.tolist()):
                content = self.originals.file(row)
                self._compare(row, content, check=check)
                decoded[place] = self.originals.decode(content, row, self._named(row), crops)
            return decoded
        pixels: np.ndarray = np.take(self.images, rows, axis=0)
        for row, image in zip(rows.tolist(), pixels, strict=True) if check else ():
            self._compare(row, image.data, check=check)
        return pixels

    def check(self, rows: np.ndarray) -> None:
        """Compares what is stored of some images with their digests.

        Raises:
            DataError: an image has changed since it was prepared.
        """
        if self.originals is None:
            self.read(rows)
            return
        for row in rows.tolist():
            self._compare(row, self.originals.file(row), check=True)

    def _compare(self, row: int, stored: bytes | memoryview, *, check: bool) -> None:
        if check and self.digests is not None and _start_of_digest(stored) != self.digests.pixels[row].tobytes():
            raise DataError(f"{self._named(row)} is damaged; prepare the data set again")

    def _named(self, row: int) -> str:
        return f"{self.folder}: image {row} of its {'val' if self.name == 'val' else 'train'} images"


@dataclass(frozen=True)
class PreparedData:
    """All splits of a prepared data set.

    Attributes:
        path: its folder.
        image_size: pixels per side of the stored images; originals are decoded to it where nothing else is asked for.
        classes: in the order of the labels.
        splits: those of `train` and `val` that have images.
    """

    path: Path
    image_size: int
    classes: tuple[ClassInfo, ...]
    splits: dict[str, PreparedSplit]

    def sized(self, size: int) -> PreparedData:
        """Returns the data set with originals decoded to another size; images that are stored at one size keep it."""
        return dataclasses.replace(self, splits={name: split.sized(size) for name, split in self.splits.items()})

    def split(self, name: str) -> PreparedSplit:
        """Returns a split, which must exist.

        Raises:
            DataError: the data set was prepared without such images.
        """
        if name not in self.splits:
            raise DataError(f"{self.path}: has no {name} images; prepare it again from sources that hold some")
        return self.splits[name]


def array_path(folder: Path, split: str, what: Literal["images", "labels", "digests", "offsets"]) -> Path:
    """Returns the file of a split's images, labels, digests or offsets of originals."""
    return folder / f"{split}-{what}.npy"


def originals_file(folder: Path, split: str) -> Path:
    """Returns the file that holds the originals of a split, one after the other."""
    return folder / f"{split}-originals.bin"


def paths_file(folder: Path, split: str) -> Path:
    """Returns the file of the paths that a split's images have in their source."""
    return folder / f"{split}-paths.json"


def image_digest(image: np.ndarray) -> bytes:
    """Returns the start of the SHA-256 of an image's pixels, uint8 (3, H, W)."""
    return _start_of_digest(image.data)


def _start_of_digest(stored: bytes | memoryview) -> bytes:
    return hashlib.sha256(stored).digest()[:DIGEST_BYTES]


def content_digest(labels: np.ndarray, digests: ImageDigests, offsets: np.ndarray | None = None) -> str:
    """Returns the SHA-256 of a split's labels, int64 (N,), of the digests of its images and of originals' offsets."""
    found = hashlib.sha256()
    for array in (labels, digests.pixels, digests.sources, *(() if offsets is None else (offsets,))):
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
        for start in range(0, len(split), _CHECKED_AT_ONCE):
            split.check(split.rows[start : start + _CHECKED_AT_ONCE])
        checked[name] = 0 if split.digests is None else len(split)
    return checked


def _open_split(folder: Path, name: str, manifest: Manifest, info: SplitInfo) -> PreparedSplit:
    count, size, classes = info.images, manifest.image_size, manifest.classes
    of_originals, offsets = manifest.store == ORIGINALS, None
    if of_originals:
        images = np.empty((0, 3, size, size), np.uint8)
        offsets = _opened(array_path(folder, name, "offsets"), np.int64, (count + 1,))
    else:
        images = _opened(array_path(folder, name, "images"), np.uint8, (count, 3, size, size), mapped=True)
    labels_path = array_path(folder, name, "labels")
    labels = _opened(labels_path, np.int64, (count,))
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{labels_path}: has labels outside 0..{len(classes) - 1}; prepare again")
    rows = np.arange(len(labels))
    if manifest.format == 1:
        return PreparedSplit(name, images, labels, rows, classes, folder=folder)

    both = _opened(array_path(folder, name, "digests"), np.uint8, (2, count, DIGEST_BYTES))
    digests = ImageDigests(*both)
    if content_digest(labels, digests, offsets) != info.digest:
        what = "labels, digests or offsets" if of_originals else "labels or digests"
        raise DataError(f"{folder}: its {name} {what} were changed or damaged; prepare the data set again")
    originals = None if offsets is None else _open_originals(originals_file(folder, name), offsets, size)
    return PreparedSplit(name, images, labels, rows, classes, digests, folder, originals)


def _open_originals(path: Path, offsets: np.ndarray, size: int) -> Originals:
    try:
        return Originals(map_bytes(path, int(offsets[-1])), offsets, size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; prepare the data set again") from None
    except ArrayError as error:
        raise DataError(f"{path}: {error}; prepare the data set again") from None


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
