"""The sources of data sets: files in folders and zip files, or pickles of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from greenedge.data.decode import convert_pixels, decode_image
from greenedge.data.layouts import Listing, Record, read_listing
from greenedge.data.pickles import PickledSource
from greenedge.data.tree import SourceTree
from greenedge.errors import DataError


@dataclass(frozen=True)
class LoadedImage:
    """One image of a source.

    Attributes:
        pixels: uint8 (3, size, size).
        digest: SHA-256 of the bytes it was decoded from.
    """

    pixels: np.ndarray
    digest: bytes


class Source(Protocol):
    """A data set that is to be prepared.

    Attributes:
        listing: its classes and the label of each image.
    """

    listing: Listing

    def load(self, record: Record, size: int) -> LoadedImage:
        """Loads one image. Safe to call from several threads."""
        ...

    def digests(self) -> list[dict[str, Any]]:
        """Returns the name and SHA-256 of each file or folder."""
        ...


@contextmanager
def open_source(sources: Sequence[Path], labels_map: Path | None) -> Iterator[Source]:
    """Opens folders and zip files, or pickles.

    Args:
        sources: paths that together hold one data set.
        labels_map: for pickles, a file from their labels to class indices; None: their labels, sorted.

    Raises:
        DataError: the sources cannot be used, alone or together.
    """
    pickles = [source for source in sources if source.suffix == ".pkl"]
    if pickles and len(pickles) < len(sources):
        raise DataError(f"{pickles[0]}: a pickle cannot be combined with folders or zip files; prepare them separately")
    if pickles:
        yield _PickleSource(PickledSource(pickles, labels_map))
        return
    if labels_map is not None:
        raise DataError(f"{labels_map}: a label map is for pickled data sets; files name their classes themselves")
    with SourceTree(sources) as tree:
        yield _FileSource(tree)


class _PickleSource:
    def __init__(self, pickles: PickledSource) -> None:
        self._pickles = pickles
        self.listing = pickles.listing

    def load(self, record: Record, size: int) -> LoadedImage:
        image = self._pickles.image(record)
        digest = hashlib.sha256(repr((image.dtype.str, image.shape)).encode() + image.tobytes()).digest()
        return LoadedImage(convert_pixels(image, self._pickles.locate(record), size), digest)

    def digests(self) -> list[dict[str, Any]]:
        return self._pickles.digests()


class _FileSource:
    def __init__(self, tree: SourceTree) -> None:
        self._tree = tree
        self.listing = read_listing(tree)

    def load(self, record: Record, size: int) -> LoadedImage:
        content = self._tree.read(record.path)
        pixels = decode_image(content, self._tree.locate(record.path), size)
        return LoadedImage(pixels, hashlib.sha256(content).digest())

    def digests(self) -> list[dict[str, Any]]:
        return self._tree.digests()
