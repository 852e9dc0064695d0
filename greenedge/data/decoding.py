"""Decodes the images of a source in parallel, into one file or only to see whether they can be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from greenedge.data.layouts import Record
from greenedge.data.prepared import DIGEST_BYTES, ImageDigests, image_digest
from greenedge.data.sources import Source

# Small chunks keep all threads busy until the end, the progress bar moving and few images in memory.
_CHUNK_IMAGES, _CHUNK_BYTES = 32, 4_000_000

# More threads decode no faster. Each needs about ten times the bytes of a stored image.
_MAX_THREADS, _MEMORY_BYTES = 8, 2_000_000_000

_SHA256_BYTES = 32


@dataclass(frozen=True)
class Decoded:
    """What decoding found of images, by row.

    Attributes:
        pixels: uint8 (N, 16), the start of the SHA-256 of the stored pixels; zeros where an image cannot be used.
        sources: uint8 (N, 32), the SHA-256 of the bytes that an image was decoded from.
        problems: row -> why its image cannot be used.
    """

    pixels: np.ndarray
    sources: np.ndarray
    problems: dict[int, str]

    def digests(self, rows: np.ndarray) -> ImageDigests:
        """Returns the digests of some rows, int64 (n,), as they are stored."""
        return ImageDigests(self.pixels[rows], self.sources[rows, :DIGEST_BYTES])


def write_images(source: Source, path: Path, what: str, records: Sequence[Record], size: int) -> Decoded:
    """Decodes and writes images, uint8 (N, 3, size, size), each into the row of its record.

    The rows of images that cannot be used hold zeros.

    Args:
        source: of the images.
        path: the file.
        what: they are, for the progress bar.
        records: the images.
        size: pixels per side.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        start = _write_header(file, (len(records), 3, size, size))
        file.flush()
        # Plain writes, not a writable memory map: on a full disk a map kills the process (SIGBUS).
        return decode_images(
            source,
            records,
            size,
            f"preparing {what}",
            lambda first, content: write_at(file.fileno(), content, start + first * 3 * size * size),
        )


def decode_images(
    source: Source, records: Sequence[Record], size: int, title: str, put: Callable[[int, bytearray], None]
) -> Decoded:
    """Decodes images, some at a time, in several threads.

    Args:
        source: of the images.
        records: the images.
        size: pixels per side.
        title: of the progress bar.
        put: takes the first row of neighbouring images and their pixels, zeros where one cannot be used.
    """
    pixels = np.zeros((len(records), DIGEST_BYTES), np.uint8)
    sources = np.zeros((len(records), _SHA256_BYTES), np.uint8)
    problems: dict[int, str] = {}
    image_bytes = 3 * size * size
    per_chunk = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // image_bytes))

    def decode(first: int) -> int:
        chunk = records[first : first + per_chunk]
        content = bytearray()
        for row, record in enumerate(chunk, start=first):
            image = source.load(record, size)
            sources[row] = np.frombuffer(image.digest, np.uint8)
            if isinstance(image.pixels, str):
                problems[row] = image.pixels
                content += bytes(image_bytes)
                continue

            stored = np.ascontiguousarray(image.pixels)
            pixels[row] = np.frombuffer(image_digest(stored), np.uint8)
            content += stored.data
        put(first, content)
        return len(chunk)

    pool = ThreadPoolExecutor(decoding_threads(image_bytes))
    try:
        tasks = [pool.submit(decode, first) for first in range(0, len(records), per_chunk)]
        with tqdm(total=len(records), desc=title, unit=" images", disable=None) as bar:
            for task in as_completed(tasks):
                bar.update(task.result())
    finally:
        pool.shutdown(cancel_futures=True)
    return Decoded(pixels, sources, dict(sorted(problems.items())))


def copy_rows(path: Path, out: Path, rows: np.ndarray, shape: tuple[int, ...]) -> None:
    """Copies some rows of a file of `write_images` into another file of the same form.

    Args:
        path: the file.
        out: the other file.
        rows: int64 (n,).
        shape: (N, 3, H, W), what it holds.

    Raises:
        OSError: the other file cannot be written.
    """
    image_bytes = int(np.prod(shape[1:]))
    with path.open("rb") as file, out.open("wb") as copy:
        start = _write_header(copy, (len(rows), *shape[1:]))
        copy.flush()
        for target, row in enumerate(rows.tolist()):
            image = os.pread(file.fileno(), image_bytes, start + row * image_bytes)
            write_at(copy.fileno(), image, start + target * image_bytes)


def keep_rows(path: Path, rows: np.ndarray, shape: tuple[int, ...]) -> None:
    """Shortens a file of `write_images` in place to some of its rows.

    Args:
        path: the file.
        rows: int64 (n,), increasing.
        shape: (N, 3, H, W), what it holds.
    """
    image_bytes = int(np.prod(shape[1:]))
    with path.open("r+b") as file:
        # numpy pads headers for any length, so this one is as long as the one it replaces.
        start = _write_header(file, (len(rows), *shape[1:]))
        file.flush()
        for target, row in enumerate(rows.tolist()):
            if row != target:
                image = os.pread(file.fileno(), image_bytes, start + row * image_bytes)
                write_at(file.fileno(), image, start + target * image_bytes)
        file.truncate(start + len(rows) * image_bytes)


def decoding_threads(image_bytes: int) -> int:
    """Returns how many threads decode images of so many bytes each."""
    return max(1, min(os.cpu_count() or 1, _MAX_THREADS, _MEMORY_BYTES // (10 * image_bytes)))


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Writes the header of a `.npy` file and returns its length."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def write_at(descriptor: int, content: bytes | bytearray, offset: int) -> None:
    """Writes all of it at a place of a file."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
