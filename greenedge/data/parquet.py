"""Reads image data sets in Parquet files, as the Hugging Face Hub stores them. Needs the extra `parquet`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from greenedge.data.decode import is_image_name
from greenedge.data.entries import Entry, list_entries, split_of_name
from greenedge.data.layouts import Listing
from greenedge.data.walk import MAX_FILE_BYTES, check_size, walk_folder
from greenedge.errors import DataError

_ENDING = ".parquet"
# A row group is read as a whole; this many stay in memory, as threads are at neighbouring images.
_KEPT_GROUPS = 2
_MAX_GROUP_BYTES = 4 * MAX_FILE_BYTES


def is_parquet(source: Path) -> bool:
    """Tells whether a source is a Parquet file, or a folder that holds some, at its top or in one below."""
    return source.suffix.lower() == _ENDING or (source.is_dir() and bool(_files(source)))


def open_parquet(sources: Sequence[Path]) -> tuple[Listing, ParquetImages]:
    """Reads the labels of Parquet files, whose names begin with their split.

    Raises:
        DataError: pyarrow is missing, or a file is damaged, lacks the columns, or has images without labels.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise DataError(f"{sources[0]}: Parquet needs pyarrow; pip install 'greenedge[parquet]'") from None
    unused: Counter[str] = Counter()
    files: list[Path] = []
    for source in sources:
        files += _files_alone(source, unused) if source.is_dir() else [source]
    images = ParquetImages(files)
    try:
        listing = list_entries(sources[0], images.entries, "Parquet", images.classes)
        return replace(listing, unused={**listing.unused, **unused}), images
    except BaseException:
        images.close()
        raise


class ParquetImages:
    """The images of Parquet files, called `FILE/ROW`.

    Attributes:
        entries: every image.
        classes: the names that the metadata give the labels, in their order; None without such.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        import pyarrow
        import pyarrow.parquet

        self._files = list(files)
        self._open: list[Any] = []
        self._groups: dict[tuple[int, int], Any] = {}  # (file, row group) -> its images, the latest last
        self._lock = Lock()
        self.entries: list[Entry] = []
        self._places: dict[str, tuple[int, int, int]] = {}
        self.classes: tuple[str, ...] | None = None
        try:
            for index, file in enumerate(self._files):
                self._open.append(pyarrow.parquet.ParquetFile(file))
                self._add(index, file)
        except (pyarrow.ArrowException, OSError) as error:
            self.close()
            reason = getattr(error, "strerror", None) or "it is damaged or truncated"
            raise DataError(f"{file}: is not a readable Parquet file ({reason}); download it again") from None
        except BaseException:
            self.close()
            raise

    def _add(self, index: int, file: Path) -> None:
        opened = self._open[index]
        classes = _check_columns(file, opened.schema_arrow)
        if index and classes != self.classes:
            raise DataError(f"{file}: names other classes than {self._files[0]}; prepare them separately")
        self.classes = classes

        row = 0
        for group in range(opened.num_row_groups):
            size = opened.metadata.row_group(group).total_byte_size
            if size > _MAX_GROUP_BYTES:
                raise DataError(
                    f"{file}: its row group {group} takes {size / 1e6:.0f} MB, more than {_MAX_GROUP_BYTES / 1e6:.0f}; "
                    "write it again with smaller row groups"
                )
            for place, label in enumerate(opened.read_row_group(group, columns=["label"])["label"].to_pylist()):
                if isinstance(label, int) and classes is not None:
                    label = classes[label] if 0 <= label < len(classes) else None
                if label is None:
                    raise DataError(f"{file}: row {row} has no label of a class; remove such images")
                path = f"{index:05d}-{file.stem}/{row:09d}"
                self._places[path] = (index, group, place)
                self.entries.append(Entry(path, str(label), split_of_name(file.name)))
                row += 1

    def read(self, path: str) -> bytes:
        """Reads the bytes of an image.

        Raises:
            DataError: the row has none, or is damaged.
        """
        import pyarrow

        index, group, place = self._places[path]
        try:
            with self._lock:
                images = self._groups.pop((index, group), None)
                if images is None:
                    while len(self._groups) >= _KEPT_GROUPS:
                        self._groups.pop(next(iter(self._groups)))
                    images = self._open[index].read_row_group(group, columns=["image"])["image"]
                self._groups[index, group] = images
        except (pyarrow.ArrowException, OSError):
            raise DataError(f"{self.locate(path)}: its row group is damaged; download the file again") from None
        value = images[place].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not content:
            raise DataError(f"{self.locate(path)}: holds no bytes of an image")
        check_size(self.locate(path), len(content))
        return bytes(content)

    def locate(self, path: str) -> str:
        """Names an image for messages."""
        return f"{self._files[self._places[path][0]]}: row {int(path.rpartition('/')[2])}"

    def digests(self) -> list[dict[str, Any]]:
        """Returns the name and SHA-256 of each file."""
        found = []
        for path in self._files:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append({"name": path.name, "kind": "parquet", "sha256": digest})
        return found

    def close(self) -> None:
        """Closes the files."""
        for opened in self._open:
            opened.close()


def _files(folder: Path) -> list[Path]:
    return sorted([*folder.glob(f"*{_ENDING}"), *folder.glob(f"*/*{_ENDING}")])


def _files_alone(folder: Path, unused: Counter[str]) -> list[Path]:
    """Returns the Parquet files of a folder, counts its other files by kind, and refuses images beside them."""
    found, files = walk_folder(folder), _files(folder)
    unused += found.ignored
    for name in sorted(found.files):
        if is_image_name(name):
            raise DataError(
                f"{folder}: holds both Parquet files ({files[0].relative_to(folder)}) and images ({name}); "
                "prepare them separately: name the Parquet files, or move them out of this folder"
            )
        if folder / found.files[name] not in files:
            unused[PurePosixPath(name).suffix.lower() or "file without ending"] += 1
    return files


def _check_columns(file: Path, schema: Any) -> tuple[str, ...] | None:
    """Refuses a file without images and labels, and returns the names of its classes."""
    import pyarrow.types as types

    shown = ", ".join(f"{field.name}: {field.type}" for field in schema)[:200]
    if not {"image", "label"} <= set(schema.names):
        raise DataError(f"{file}: expected the columns image and label, found {shown}")
    image, label = schema.field("image").type, schema.field("label").type
    if types.is_struct(image):
        image = next((field.type for field in image if field.name == "bytes"), image)
    if not (types.is_binary(image) or types.is_large_binary(image)):
        raise DataError(f"{file}: expected the column image to hold bytes, found {shown}")
    if not (types.is_integer(label) or types.is_string(label) or types.is_large_string(label)):
        raise DataError(f"{file}: expected the column label to hold numbers or texts, found {shown}")
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features["label"]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(names, list) or len(set(map(str, names))) < len(names):
        raise DataError(f"{file}: its metadata names two labels alike; expected one name per class")
    return tuple(map(str, names))
