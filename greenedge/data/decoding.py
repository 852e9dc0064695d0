"""Decodes the images of a split in parallel into one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from greenedge.data.layouts import Record
from greenedge.data.prepared import DIGEST_BYTES, ImageDigests, image_digest
from greenedge.data.sources import Source
from greenedge.errors import DataError

# Small chunks keep all threads busy until the end, the progress bar moving and few images in memory.
_CHUNK_IMAGES, _CHUNK_BYTES = 32, 4_000_000

# More threads decode no faster. Each needs about ten times the bytes of a stored image.
_MAX_THREADS, _MEMORY_BYTES = 8, 2_000_000_000

Problems = dict[int, str]  # row -> why its image cannot be used


def write_images(
    source: Source, path: Path, split: str, records: Sequence[Record], size: int
) -> tuple[ImageDigests, Problems]:
    """Decodes and writes images, uint8 (N, 3, size, size), each into the row of its record.

    Returns:
        The digests, and the problems. The rows of images that cannot be used hold zeros.

    Raises:
        OSError: the file cannot be written.
    """
    digests = ImageDigests(*np.zeros((2, len(records), DIGEST_BYTES), np.uint8))
    problems: Problems = {}
    image_bytes = 3 * size * size
    per_chunk = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // image_bytes))

    with path.open("wb") as file:
        start = _write_header(file, (len(records), 3, size, size))
        file.flush()

        def write(first: int) -> int:
            chunk = records[first : first + per_chunk]
            content = bytearray()
            for row, record in enumerate(chunk, start=first):
                try:
                    image = source.load(record, size)
                except DataError as error:
                    problems[row] = str(error)
                    content += bytes(image_bytes)
                    continue

                pixels = np.ascontiguousarray(image.pixels)
                digests.pixels[row] = np.frombuffer(image_digest(pixels), np.uint8)
                digests.sources[row] = np.frombuffer(image.digest[:DIGEST_BYTES], np.uint8)
                content += pixels.data

            # Plain writes, not a writable memory map: on a full disk a map kills the process (SIGBUS).
            _write_all(file.fileno(), content, start + first * image_bytes)
            return len(chunk)

        pool = ThreadPoolExecutor(decoding_threads(image_bytes))
        try:
            tasks = [pool.submit(write, first) for first in range(0, len(records), per_chunk)]
            with tqdm(total=len(records), desc=f"preparing {split}", unit=" images", disable=None) as bar:
                for task in as_completed(tasks):
                    bar.update(task.result())
        finally:
            pool.shutdown(cancel_futures=True)
    return digests, dict(sorted(problems.items()))


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
                _write_all(file.fileno(), image, start + target * image_bytes)
        file.truncate(start + len(rows) * image_bytes)


def decoding_threads(image_bytes: int) -> int:
    """Returns how many threads decode images of so many bytes each."""
    return max(1, min(os.cpu_count() or 1, _MAX_THREADS, _MEMORY_BYTES // (10 * image_bytes)))


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Writes the header of a `.npy` file and returns its length."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def _write_all(descriptor: int, content: bytes | bytearray, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
