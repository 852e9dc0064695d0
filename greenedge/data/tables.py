"""Reads data sets that a CSV or TSV file lists: a path and a label, and perhaps a split, on each line."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from greenedge.data.entries import Entry, list_entries
from greenedge.data.layouts import Listing
from greenedge.data.walk import read_regular_file
from greenedge.errors import DataError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
# What columns may be called, in lower case.
_COLUMNS = {
    "path": ("path", "image", "filename", "file", "file_name"),
    "label": ("label", "class"),
    "split": ("split",),
}


def is_table(source: Path) -> bool:
    """Tells by its name whether a source is a table."""
    return source.suffix.lower() in _SEPARATORS and not source.is_dir()


def open_tables(sources: Sequence[Path]) -> tuple[Listing, TableImages]:
    """Reads one table; paths of images are relative to its folder and stay below it.

    Raises:
        DataError: there are several, it is invalid, or a path lies outside its folder.
    """
    if len(sources) > 1:
        raise DataError(f"{sources[1]}: one table is read at a time; name the split of each image in one")
    table = sources[0]
    entries = _read_table(table)
    return list_entries(table, entries, "a table of paths and labels"), TableImages(table)


class TableImages:
    """The images that a table names."""

    def __init__(self, table: Path) -> None:
        self._table = table

    def read(self, path: str) -> bytes:
        """Reads the bytes of an image.

        Raises:
            DataError: it is missing, too large or not a regular file.
        """
        return read_regular_file(self._table.parent / path)

    def locate(self, path: str) -> str:
        """Names an image for messages."""
        return str(self._table.parent / path)

    def digests(self) -> list[dict[str, Any]]:
        """Returns the name and SHA-256 of the table."""
        return [
            {"name": self._table.name, "kind": "table", "sha256": hashlib.sha256(self._table.read_bytes()).hexdigest()}
        ]

    def close(self) -> None:
        """Does nothing, as no file stays open."""


def _read_table(table: Path) -> list[Entry]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_SEPARATORS[table.suffix.lower()], strict=True)
            columns = _columns(table, next(reader, []))
            lines = [(reader.line_num, fields) for fields in reader if fields]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: is not a table in UTF-8 ({error}); expected the columns path and label") from None
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror or error}") from None

    entries: dict[str, Entry] = {}
    for number, fields in lines:
        where = f"{table}:{number}"
        if len(fields) <= max(columns.values()):
            raise DataError(f"{where}: has {len(fields)} fields, fewer than the header")
        values = {name: fields[column].strip() for name, column in columns.items()}
        path = PurePosixPath(values["path"].replace("\\", "/"))
        if not values["path"] or path.is_absolute() or ".." in path.parts:
            raise DataError(f"{where}: names {values['path']!r}; expected a path below the folder of the table")
        if not values["label"]:
            raise DataError(f"{where}: has no label")
        if str(path) in entries:
            raise DataError(f"{where}: names {values['path']!r} a second time; give each image once")
        entries[str(path)] = Entry(str(path), values["label"], values.get("split", "").lower())
    if not entries:
        raise DataError(f"{table}: names no images")
    return list(entries.values())


def _columns(table: Path, header: Sequence[str]) -> dict[str, int]:
    """Finds the columns by what they are called."""
    names = [name.strip().lower() for name in header]
    columns = {}
    for what, accepted in _COLUMNS.items():
        found = [index for index, name in enumerate(names) if name in accepted]
        if len(found) > 1:
            raise DataError(f"{table}: has {len(found)} columns for the {what}; keep one of {', '.join(accepted)}")
        if found:
            columns[what] = found[0]
        elif what != "split":
            shown = ", ".join(map(repr, header[:6])) or "nothing"
            raise DataError(f"{table}: has no column {what!r}; expected a first line such as path,label, found {shown}")
    return columns
