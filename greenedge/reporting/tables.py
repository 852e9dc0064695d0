"""Tables: aligned text for people, CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from greenedge.errors import printable
from greenedge.files import write_atomically

Rows = Sequence[Sequence[object]]


def format_table(headers: Sequence[str], rows: Rows) -> str:
    """Columns as wide as their widest cell; text to the left, everything else to the right."""
    cells = [list(headers), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    texts = [all(_is_text(row[index]) for row in cells[1:] if row[index]) for index in range(len(headers))]
    lines = [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, texts, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


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
