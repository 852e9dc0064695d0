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
from greenedge.data.layouts import Listing, Record
from greenedge.data.prepared import FORMAT, MANIFEST, array_paths
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
        manifest = _manifest(source, listing, options)
        with new_folder(out) as partial, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # here: filters belong to all threads
            for split, records in listing.splits.items():
                if records:
                    _write_split(source, partial, split, records, options.size)
            write_json(partial / MANIFEST, manifest)
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


def _write_split(source: Source, folder: Path, split: str, records: Sequence[Record], size: int) -> None:
    images_path, labels_path = array_paths(folder, split)
    np.save(labels_path, np.array([record.label for record in records], dtype=np.int64))
    with images_path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(records), 3, size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        start, image_bytes = file.tell(), 3 * size * size

        def write(first: int) -> int:
            chunk = records[first : first + _CHUNK]
            pixels = np.stack([source.pixels(record, size) for record in chunk])
            # Plain writes, not a writable memory map: on a full disk a map kills the process (SIGBUS).
            _write_all(file.fileno(), pixels.tobytes(), start + first * image_bytes)
            return len(chunk)

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            tasks = [pool.submit(write, first) for first in range(0, len(records), _CHUNK)]
            with tqdm(total=len(records), desc=f"preparing {split}", unit=" images", disable=None) as bar:
                for task in as_completed(tasks):
                    bar.update(task.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _manifest(source: Source, listing: Listing, options: PrepareOptions) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "image_size": options.size,
        "classes": [asdict(info) for info in listing.classes],
        "splits": {name: {"images": len(records)} for name, records in listing.splits.items()},
        "subset": {"classes": options.classes, "per_class": options.per_class},
        "sources": source.digests(),
        "versions": {"greenedge": __version__, "numpy": np.__version__, "pillow": PIL.__version__},
    }
