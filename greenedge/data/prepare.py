"""Decodes a source once, in parallel, into a prepared data set."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from greenedge import __version__
from greenedge.config.records import digest_of
from greenedge.data.layouts import Listing, Record
from greenedge.data.prepared import (
    DIGEST_BYTES,
    FORMAT,
    MANIFEST,
    ImageDigests,
    SplitInfo,
    array_path,
    content_digest,
    image_digest,
    paths_content,
    paths_file,
)
from greenedge.data.sources import Source, open_source
from greenedge.errors import DataError
from greenedge.files import write_json

_CHUNK = 256  # images decoded by one thread before they are written: 3 MB at 64 px


@dataclass(frozen=True)
class PrepareOptions:
    """What is kept of a source.

    Attributes:
        size: pixels a side of the stored images.
        classes: how many classes, the first in sorted order; None: all.
        per_class: how many training images a class, the first in sorted order; None: all.
        labels_map: for pickled data sets, a file from their labels to class indices; None: their labels, sorted.
    """

    size: int = 64
    classes: int | None = None
    per_class: int | None = None
    labels_map: Path | None = None


def prepare(sources: Sequence[Path], out: Path, options: PrepareOptions | None = None) -> dict[str, Any]:
    """Decodes the images of `sources` into the folder `out`, which appears only when all is done.

    Args:
        sources: folders or zip files, or pickles, which together hold one data set.
        out: the folder to make; it must not exist.
        options: size and subset.

    Returns:
        The manifest.

    Raises:
        DataError: a source or an image that cannot be used, or `out` cannot be written; `out` is not made.
    """
    options = options or PrepareOptions()
    if out.exists():
        raise DataError(f"{out}: exists already; choose another --out, or remove it first")
    with open_source(sources, options.labels_map) as source:
        listing = source.listing.subset(options.classes, options.per_class)
        with new_folder(out) as partial, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # here: filters belong to all threads
            splits = {
                split: _write_split(source, partial, split, records, options.size)
                for split, records in listing.splits.items()
            }
            manifest = _manifest(source, listing, splits, options)
            write_json(partial / MANIFEST, manifest, sealed=True)
    return manifest


class new_folder:  # noqa: N801  # reads as a function: `with new_folder(out) as partial`
    """A folder that is filled under a temporary name and renamed to `out` when the block ends well.

    Raises:
        DataError: the folder cannot be made or written; nothing stays behind.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    def __enter__(self) -> Path:
        self.made = [parent for parent in self.out.parents if not parent.exists()]  # innermost first
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.partial = Path(tempfile.mkdtemp(prefix=f".{self.out.name}.partial-", dir=self.out.parent))
            self.partial.chmod(0o755)
        except OSError as error:
            raise DataError(f"{self.out}: cannot be made: {error.strerror}") from None
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                self.partial.rename(self.out)
        except OSError as failure:
            error = failure
        if error is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            for parent in self.made:
                with contextlib.suppress(OSError):  # somebody else may have put something there
                    parent.rmdir()
        if isinstance(error, OSError):
            raise DataError(f"{self.out}: cannot be written: {error.strerror}; nothing was kept") from None


def _write_split(source: Source, folder: Path, split: str, records: Sequence[Record], size: int) -> SplitInfo:
    """Writes images, labels, digests and paths; nothing for a split without images."""
    if not records:
        return SplitInfo(0)
    labels = np.array([record.label for record in records], dtype=np.int64)
    digests = _write_images(source, array_path(folder, split, "images"), split, records, size)
    np.save(array_path(folder, split, "labels"), labels)
    np.save(array_path(folder, split, "digests"), np.stack([digests.pixels, digests.sources]))
    paths = paths_content([record.path for record in records])
    paths_file(folder, split).write_bytes(paths)
    return SplitInfo(len(records), content_digest(labels, digests), digest_of(paths))


def _write_images(source: Source, path: Path, split: str, records: Sequence[Record], size: int) -> ImageDigests:
    """Decodes and writes images in parallel."""
    digests = ImageDigests(*np.zeros((2, len(records), DIGEST_BYTES), np.uint8))
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(records), 3, size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        start, image_bytes = file.tell(), 3 * size * size

        def write(first: int) -> int:
            chunk = records[first : first + _CHUNK]
            content = bytearray()
            for row, record in enumerate(chunk, start=first):
                image = source.load(record, size)
                pixels = np.ascontiguousarray(image.pixels)
                digests.pixels[row] = np.frombuffer(image_digest(pixels), np.uint8)
                digests.sources[row] = np.frombuffer(image.digest[:DIGEST_BYTES], np.uint8)
                content += pixels.data
            # Plain writes, not a writable memory map: on a full disk a map kills the process (SIGBUS).
            _write_all(file.fileno(), content, start + first * image_bytes)
            return len(chunk)

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            tasks = [pool.submit(write, first) for first in range(0, len(records), _CHUNK)]
            with tqdm(total=len(records), desc=f"preparing {split}", unit=" images", disable=None) as bar:
                for task in as_completed(tasks):
                    bar.update(task.result())
        finally:
            pool.shutdown(cancel_futures=True)
    return digests


def _write_all(descriptor: int, content: bytearray, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _manifest(
    source: Source, listing: Listing, splits: dict[str, SplitInfo], options: PrepareOptions
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "image_size": options.size,
        "classes": [asdict(info) for info in listing.classes],
        "splits": {name: asdict(info) for name, info in splits.items()},
        "subset": {"classes": options.classes, "per_class": options.per_class},
        "sources": source.digests(),
        "versions": {"greenedge": __version__, "numpy": np.__version__, "pillow": PIL.__version__},
    }
