"""The two ways in which a prepared data set keeps the images of a split: decoded in an array, or as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from greenedge.data.decoding import Decoded, copy_rows, keep_rows, write_images
from greenedge.data.layouts import Record
from greenedge.data.originals import ORIGINALS, Store
from greenedge.data.prepared import ImageDigests, array_path, originals_file
from greenedge.data.sources import Source
from greenedge.data.write_originals import WrittenOriginals, copy_originals, keep_originals, write_originals

_NOTHING = np.zeros(0, np.int64)


class Written(Protocol):
    """What was written of images, by row."""

    @property
    def sources(self) -> np.ndarray:
        """uint8 (N, 32), the SHA-256 of the bytes of each image."""

    @property
    def problems(self) -> dict[int, str]:
        """Row -> why its image cannot be used."""

    def digests(self, rows: np.ndarray) -> ImageDigests:
        """Of some rows, int64 (n,), as they are stored."""


W = TypeVar("W", bound=Written)


class StoreFiles(Protocol[W]):
    """How images are written; what `write` wrote can be copied and shortened, row by row."""

    def path(self, folder: Path, split: str) -> Path:
        """The file of a split's images."""

    def write(self, source: Source, path: Path, what: str, records: Sequence[Record]) -> W:
        """Writes the images of records, `what` they are for the progress bar."""

    def copy(self, written: W, path: Path, out: Path, rows: np.ndarray) -> None:
        """Copies some rows, int64 (n,), into another file of the same form."""

    def keep(self, written: W, path: Path, rows: np.ndarray) -> None:
        """Shortens a file to some rows, int64 (n,), increasing."""

    def offsets(self, written: W, rows: np.ndarray) -> np.ndarray | None:
        """int64 (n + 1,), where the files of some rows begin; None in an array."""

    def shorter_sides(self, written: W, rows: np.ndarray) -> np.ndarray:
        """int64 (n,), pixels of the shorter sides of files; none of an array."""


@dataclass(frozen=True)
class ArrayFiles:
    """Images decoded to `size` pixels per side, in an array."""

    size: int

    def path(self, folder: Path, split: str) -> Path:
        """The array."""
        return array_path(folder, split, "images")

    def write(self, source: Source, path: Path, what: str, records: Sequence[Record]) -> Decoded:
        """Decodes and writes."""
        return write_images(source, path, what, records, self.size)

    def copy(self, written: Decoded, path: Path, out: Path, rows: np.ndarray) -> None:
        """Copies rows."""
        copy_rows(path, out, rows, self._shape(written))

    def keep(self, written: Decoded, path: Path, rows: np.ndarray) -> None:
        """Keeps rows."""
        keep_rows(path, rows, self._shape(written))

    def offsets(self, written: Decoded, rows: np.ndarray) -> None:
        """None: rows of an array need none."""
        _ = written, rows

    def shorter_sides(self, written: Decoded, rows: np.ndarray) -> np.ndarray:
        """None: all images have one size."""
        _ = written, rows
        return _NOTHING

    def _shape(self, written: Decoded) -> tuple[int, ...]:
        return (len(written.sources), 3, self.size, self.size)


@dataclass(frozen=True)
class OriginalFiles:
    """Image files as they came, one after the other; each is tried at `size` pixels per side first."""

    size: int

    def path(self, folder: Path, split: str) -> Path:
        """The file of all originals."""
        return originals_file(folder, split)

    def write(self, source: Source, path: Path, what: str, records: Sequence[Record]) -> WrittenOriginals:
        """Tries and writes."""
        return write_originals(source, path, what, records, self.size)

    def copy(self, written: WrittenOriginals, path: Path, out: Path, rows: np.ndarray) -> None:
        """Copies files."""
        copy_originals(path, out, rows, written.offsets)

    def keep(self, written: WrittenOriginals, path: Path, rows: np.ndarray) -> None:
        """Keeps files."""
        keep_originals(path, rows, written.offsets)

    def offsets(self, written: WrittenOriginals, rows: np.ndarray) -> np.ndarray:
        """Where files begin."""
        return written.offsets_of(rows)

    def shorter_sides(self, written: WrittenOriginals, rows: np.ndarray) -> np.ndarray:
        """Of the files."""
        sides: np.ndarray = written.shorter_sides[rows]
        return sides


def store_files(store: Store, size: int) -> ArrayFiles | OriginalFiles:
    """How a store writes images of a size."""
    return OriginalFiles(size) if store == ORIGINALS else ArrayFiles(size)
