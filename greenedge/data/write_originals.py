"""Writes image files one after the other into one file, each tried first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from greenedge.data.ahead import map_ahead
from greenedge.data.decode import shorter_side
from greenedge.data.decoding import Problems, decoding_threads
from greenedge.data.layouts import Record
from greenedge.data.prepared import DIGEST_BYTES, ImageDigests
from greenedge.data.sources import Source
from greenedge.errors import DataError


@dataclass(frozen=True)
class WrittenOriginals:
    """What was written; images that cannot be used are left out.

    Attributes:
        digests: of each image.
        offsets: int64 (N + 1,), see `Originals`.
        sides: int64 (N,), pixels of the shorter side of each image.
        problems: row of an image that was left out -> why.
    """

    digests: ImageDigests
    offsets: np.ndarray
    sides: np.ndarray
    problems: Problems


def write_originals(source: Source, path: Path, split: str, records: Sequence[Record], size: int) -> WrittenOriginals:
    """Writes the files of a split's images in the order of the records, once each has been decoded as a trial.

    Args:
        source: of the records.
        path: the file to write.
        split: for the progress bar.
        records: the images.
        size: pixels per side that they are decoded to.

    Raises:
        OSError: the file cannot be written.
    """

    def try_one(record: Record) -> tuple[bytes, int] | str:
        try:
            content = source.load(record, size).content
        except DataError as error:
            return str(error)
        return content, shorter_side(content)

    digests, sides, ends, problems = bytearray(), [], [0], {}
    threads = decoding_threads(3 * size * size)
    bar = tqdm(total=len(records), desc=f"preparing {split}", unit=" images", disable=None)
    with path.open("wb") as file, bar:
        for row, found in enumerate(map_ahead(try_one, records, threads=threads, ahead=4 * threads)):
            bar.update()
            if isinstance(found, str):
                problems[row] = found
                continue
            content, side = found
            file.write(content)
            digests += hashlib.sha256(content).digest()[:DIGEST_BYTES]
            sides.append(side)
            ends.append(ends[-1] + len(content))

    each = np.frombuffer(bytes(digests), np.uint8).reshape(-1, DIGEST_BYTES)
    # What is stored of an image is its source.
    return WrittenOriginals(ImageDigests(each, each), np.array(ends, np.int64), np.array(sides, np.int64), problems)
