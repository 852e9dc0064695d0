"""Writes image files one after the other into one file, each tried first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from greenedge.data.ahead import map_ahead
from greenedge.data.decode import shorter_side
from greenedge.data.decoding import decoding_threads, write_at
from greenedge.data.layouts import Record
from greenedge.data.prepared import DIGEST_BYTES, ImageDigests
from greenedge.data.sources import LoadedImage, Source

_SHA256_BYTES = 32


@dataclass(frozen=True)
class WrittenOriginals:
    """What was written, by row; of images that cannot be used nothing is.

    Attributes:
        offsets: int64 (N + 1,), see `Originals`.
        sources: uint8 (N, 32), the SHA-256 of the bytes of each image.
        shorter_sides: int64 (N,), pixels of the shorter side of each image.
        problems: row -> why its image cannot be used.
    """

    offsets: np.ndarray
    sources: np.ndarray
    shorter_sides: np.ndarray
    problems: dict[int, str]

    def digests(self, rows: np.ndarray) -> ImageDigests:
        """Returns those of some rows, int64 (n,), as they are stored: what is stored of an image is its source."""
        return ImageDigests(self.sources[rows, :DIGEST_BYTES], self.sources[rows, :DIGEST_BYTES])

    def offsets_of(self, rows: np.ndarray) -> np.ndarray:
        """Returns int64 (n + 1,): where the files of some rows begin where they alone follow each other."""
        ends = np.cumsum(np.diff(self.offsets)[rows])
        return np.concatenate([np.zeros(1, np.int64), ends])


def write_originals(source: Source, path: Path, what: str, records: Sequence[Record], size: int) -> WrittenOriginals:
    """Writes image files in the order of the records, once each has been decoded as a trial.

    Args:
        source: of the records.
        path: the file to write.
        what: they are, for the progress bar.
        records: the images.
        size: pixels per side that they are decoded to.

    Raises:
        OSError: the file cannot be written.
    """

    def try_one(record: Record) -> tuple[LoadedImage, int]:
        image = source.load(record, size)
        return image, 0 if isinstance(image.pixels, str) else shorter_side(image.content)

    sources = np.zeros((len(records), _SHA256_BYTES), np.uint8)
    sides, lengths = np.zeros(len(records), np.int64), np.zeros(len(records), np.int64)
    problems = {}
    threads = decoding_threads(3 * size * size)
    bar = tqdm(total=len(records), desc=f"preparing {what}", unit=" images", disable=None)
    with path.open("wb") as file, bar:
        for row, (image, side) in enumerate(map_ahead(try_one, records, threads=threads, ahead=4 * threads)):
            bar.update()
            sources[row] = np.frombuffer(image.digest, np.uint8)
            if isinstance(image.pixels, str):
                problems[row] = image.pixels
                continue
            file.write(image.content)
            sides[row], lengths[row] = side, len(image.content)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return WrittenOriginals(offsets, sources, sides, problems)


def copy_originals(path: Path, out: Path, rows: np.ndarray, offsets: np.ndarray) -> None:
    """Copies the files of some rows, int64 (n,), from a file of `write_originals` into another.

    Raises:
        OSError: the other file cannot be written.
    """
    with path.open("rb") as file, out.open("wb") as copy:
        _move(file, copy, rows, offsets)


def keep_originals(path: Path, rows: np.ndarray, offsets: np.ndarray) -> None:
    """Shortens a file of `write_originals` in place to the files of some rows, int64 (n,), increasing."""
    with path.open("r+b") as file:
        file.truncate(_move(file, file, rows, offsets))


def _move(file: BinaryIO, to: BinaryIO, rows: np.ndarray, offsets: np.ndarray) -> int:
    """Copies the files of some rows one after the other, and returns their length."""
    end = 0
    for row in rows.tolist():
        start, length = int(offsets[row]), int(offsets[row + 1] - offsets[row])
        if file is not to or start != end:
            write_at(to.fileno(), os.pread(file.fileno(), length, start), end)
        end += length
    return end
