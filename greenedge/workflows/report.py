"""What a command answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """A result for people and for programs.

    Attributes:
        text: a table and what belongs to it.
        json: the same for `--json`.
        problem: a sentence on what could not be done; with one the command shows the result and ends as with an error.
    """

    text: str
    json: dict[str, Any]
    problem: str | None = None
