"""Collects all problems of a source in one error."""

from __future__ import annotations

from collections.abc import Sequence

from greenedge.errors import DataError, printable

SHOWN = 10


class ProblemsError(DataError):
    """Several problems of a source.

    Args:
        problems: a sentence about each, which names its file.
        summary: what they have in common, with their number.
        way_out: what the user can do.

    Attributes:
        problems: all of them.
        lines: the first ten; empty for a single one, which is then the whole message.
        short: the message without these lines.
    """

    def __init__(self, problems: Sequence[str], summary: str, way_out: str) -> None:
        self.problems = tuple(problems)
        self.lines = [printable(problem) for problem in problems[:SHOWN]] if len(problems) > 1 else []
        more = len(problems) - SHOWN
        if more > 0:
            self.lines.append(f"and {more} more, which `data prepare --check` names")
        self.short = f"{summary}; {way_out}" if self.lines else problems[0]
        super().__init__(f"{summary}: {'; '.join(self.lines)}; {way_out}" if self.lines else problems[0])
