"""The record of a run, one JSON line an epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from greenedge.errors import CheckpointError
from greenedge.files import write_text


def read_history(path: Path) -> list[dict[str, Any]]:
    """All epochs so far, none if there is no file.

    Raises:
        CheckpointError: a line is not such a record.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            record = json.loads(line)
            int(record["epoch"])
        except (ValueError, TypeError, LookupError):
            raise CheckpointError(f"{path}:{number}: is not the record of an epoch; remove it and resume") from None
        records.append(record)
    return records


def append_history(path: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Adds one epoch and returns all; a record of the same epoch or a later one (of a broken run) is replaced."""
    records = [old for old in read_history(path) if old["epoch"] < record["epoch"]]
    records.append(record)
    write_text(path, "".join(json.dumps(each) + "\n" for each in records))
    return records
