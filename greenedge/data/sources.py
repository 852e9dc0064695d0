"""What a data set can be prepared from: files in folders and zips, or pickles of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from greenedge.data.decode import decode_image
from greenedge.data.layouts import Listing, Record, read_listing
from greenedge.data.pickles import PickledSource
from greenedge.data.tree import Tree
from greenedge.errors import DataError


class Source(Protocol):
    """A data set before it is prepared.

    Attributes:
        listing: its classes, and which image has which label.
    """

    listing: Listing

    def pixels(self, record: Record, size: int) -> np.ndarray:
        """uint8 (3, size, size): one image. Safe to call from several threads."""
        ...

    def digests(self) -> list[dict[str, Any]]:
        """For each file or folder, its name and SHA-256."""
        ...


@contextmanager
def open_source(sources: Sequence[Path], labels_map: Path | None) -> Iterator[Source]:
    """Opens folders and zip files, or pickles.

    Args:
        sources: which together hold one data set.
        labels_map: for pickles, a file from their labels to class indices; None: their labels, sorted.

    Raises:
        DataError: the sources cannot be used, or not together.
    """
    pickles = [source for source in sources if source.suffix == ".pkl"]
    if pickles and len(pickles) < len(sources):
        raise DataError(f"{pickles[0]}: a pickle cannot be joined with folders or zip files; prepare them apart")
    if pickles:
        yield PickledSource(pickles, labels_map)
        return
    if labels_map is not None:
        raise DataError(f"{labels_map}: a label map is for pickled data sets; files name their classes themselves")
    with Tree(sources) as tree:
        yield _FileSource(tree)


class _FileSource:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.listing = read_listing(tree)

    def pixels(self, record: Record, size: int) -> np.ndarray:
        return decode_image(self._tree.read(record.path), self._tree.locate(record.path), size)

    def digests(self) -> list[dict[str, Any]]:
        return self._tree.digests()
