"""Tables: aligned text for people, CSV for programs."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Sequence
from pathlib import Path

from greenedge.errors import printable
from greenedge.files import write_atomically

Rows = Sequence[Sequence[object]]


def format_table(headers: Sequence[str], rows: Rows, width: int | None = None) -> str:
    """Columns as wide as their widest cell; text to the left, everything else to the right.

    Args:
        headers: of the columns.
        rows: cells.
        width: where the table would be wider, headers are broken into lines.
    """
    body = [[printable(str(cell)) for cell in row] for row in rows]
    columns = [cells[1:] for cells in zip(headers, *body, strict=True)]
    texts = [all(_is_text(cell) for cell in column if cell) for column in columns]
    heads = [[header] for header in headers]
    if width is not None and sum(_widths(heads, body)) + 2 * (len(heads) - 1) > width:
        heads = [_broken(header, [row[index] for row in body]) for index, header in enumerate(headers)]

    widths = _widths(heads, body)
    height = max(map(len, heads))
    padded = [[""] * (height - len(head)) + head for head in heads]
    top = list(zip(*padded, strict=True))
    lines = [
        "  ".join(
            cell.ljust(column) if text else cell.rjust(column)
            for cell, column, text in zip(row, widths, texts, strict=True)
        ).rstrip()
        for row in [*top, *body]
    ]
    return "\n".join([*lines[:height], "  ".join("-" * column for column in widths), *lines[height:]])


def _widths(heads: Sequence[Sequence[str]], body: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(cell) for cell in [*head, *(row[index] for row in body)]) for index, head in enumerate(heads)]


def _broken(header: str, cells: Sequence[str]) -> list[str]:
    """A header in lines: its unit below its name, else no longer than its column's longest cell or its longest word."""
    if " (" in header:
        return header.replace(" (", "\n(").split("\n")
    room = max(len(word) for word in [*header.split(), *cells])
    return textwrap.wrap(header, room, break_long_words=False, break_on_hyphens=False) or [""]


def write_csv(path: Path, headers: Sequence[str], rows: Rows) -> None:
    """Writes a CSV file with a header line, atomically."""
    write_atomically(path, lambda temporary: _write(temporary, headers, rows))


def _write(path: Path, headers: Sequence[str], rows: Rows) -> None:
    # Names of files need not be UTF-8; what is not is escaped.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(headers)
        writer.writerows(rows)


def _is_text(cell: str) -> bool:
    return not cell[:1].isdigit() and cell[:1] not in "-+."
