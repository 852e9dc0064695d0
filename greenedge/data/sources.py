"""The sources of data sets, and the table of the layouts that are recognised."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from greenedge.data.decode import convert_pixels, decode_image
from greenedge.data.given import expand_sources
from greenedge.data.layouts import Listing, Record, read_listing
from greenedge.data.parquet import is_parquet, open_parquet
from greenedge.data.pickles import PickledSource
from greenedge.data.shards import is_shard, open_shards
from greenedge.data.tables import is_table, open_tables
from greenedge.data.tree import SourceTree
from greenedge.errors import DataError


@dataclass(frozen=True)
class LoadedImage:
    """One image of a source.

    Attributes:
        pixels: uint8 (3, size, size); or a sentence on why the image cannot be used.
        digest: SHA-256 of the bytes it was decoded from; of its path where these cannot be read.
        content: these bytes; empty for an image that is no file.
    """

    pixels: np.ndarray | str
    digest: bytes
    content: bytes = b""


class Source(Protocol):
    """A data set that is to be prepared.

    Attributes:
        listing: its classes and the label of each image.
    """

    listing: Listing

    def load(self, record: Record, size: int) -> LoadedImage:
        """Loads one image. Safe to call from several threads."""
        ...

    def locate(self, record: Record) -> str:
        """Names an image for messages."""
        ...

    def digests(self) -> list[dict[str, Any]]:
        """Returns the name and SHA-256 of each file or folder."""
        ...


class Reader(Protocol):
    """What a layout is read by: its images by path. All but `close` are safe to call from several threads."""

    def read(self, path: str) -> bytes:
        """Reads the bytes of an image."""
        ...

    def locate(self, path: str) -> str:
        """Names an image for messages."""
        ...

    def digests(self) -> list[dict[str, Any]]:
        """Returns the name and SHA-256 of each file or folder."""
        ...

    def close(self) -> None:
        """Closes its files."""
        ...


def _open_folders(sources: Sequence[Path]) -> tuple[Listing, Reader]:
    tree = SourceTree(sources)
    try:
        return read_listing(tree), tree
    except BaseException:
        tree.close()
        raise


# Layout -> what recognises a source of it, and what opens sources of it. The first that recognises one is taken.
LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Sequence[Path]], tuple[Listing, Reader]]]] = {
    "Parquet": (is_parquet, open_parquet),
    "a table": (is_table, open_tables),
    "WebDataset shards": (is_shard, open_shards),
    "folders or archives": (lambda _: True, _open_folders),
}


@contextmanager
def open_source(sources: Sequence[Path], labels_map: Path | None) -> Iterator[Source]:
    """Opens sources of one layout.

    Args:
        sources: paths that together hold one data set, as a user gives them.
        labels_map: for pickles, a file from their labels to class indices; None: their labels, sorted.

    Raises:
        DataError: the sources cannot be used, alone or together.
    """
    sources, unused = expand_sources(sources)
    pickles = [source for source in sources if source.suffix == ".pkl"]
    if pickles and len(pickles) < len(sources):
        raise DataError(f"{pickles[0]}: a pickle cannot be combined with folders or zip files; prepare them separately")
    if pickles:
        yield _PickleSource(PickledSource(pickles, labels_map))
        return
    if labels_map is not None:
        raise DataError(f"{labels_map}: a label map is for pickled data sets; files name their classes themselves")
    if not sources:
        raise DataError("no source was given; name a folder or zip files that hold train/ and val/")

    layouts = [next(name for name, (recognises, _) in LAYOUTS.items() if recognises(source)) for source in sources]
    for layout, source in zip(layouts, sources, strict=True):
        if layout != layouts[0]:
            raise DataError(
                f"{source}: is {layout}, but {sources[0]} is {layouts[0]}; prepare one layout at a time, "
                "each with its own --out"
            )
    listing, reader = LAYOUTS[layouts[0]][1](sources)
    with closing(reader):
        listing = replace(listing, unused=dict(sorted((unused + Counter(listing.unused)).items())))
        yield _FileSource(listing, reader)


class _PickleSource:
    def __init__(self, pickles: PickledSource) -> None:
        self._pickles = pickles
        self.listing = replace(pickles.listing, read_as="pickles of arrays")

    def load(self, record: Record, size: int) -> LoadedImage:
        try:
            image = self._pickles.image(record)
        except DataError as error:
            return _unreadable(record, error)
        digest = hashlib.sha256(repr((image.dtype.str, image.shape)).encode() + image.tobytes()).digest()
        try:
            return LoadedImage(convert_pixels(image, self.locate(record), size), digest)
        except DataError as error:
            return LoadedImage(str(error), digest)

    def locate(self, record: Record) -> str:
        return self._pickles.locate(record)

    def digests(self) -> list[dict[str, Any]]:
        return self._pickles.digests()


class _FileSource:
    def __init__(self, listing: Listing, reader: Reader) -> None:
        self.listing = listing
        self._reader = reader

    def load(self, record: Record, size: int) -> LoadedImage:
        try:
            content = self._reader.read(record.path)
        except DataError as error:
            return _unreadable(record, error)
        digest = hashlib.sha256(content).digest()
        try:
            return LoadedImage(decode_image(content, self.locate(record), size), digest, content)
        except DataError as error:
            return LoadedImage(str(error), digest)

    def locate(self, record: Record) -> str:
        return self._reader.locate(record.path)

    def digests(self) -> list[dict[str, Any]]:
        return self._reader.digests()


def _unreadable(record: Record, error: DataError) -> LoadedImage:
    return LoadedImage(str(error), hashlib.sha256(record.path.encode("utf-8", "surrogateescape")).digest())
