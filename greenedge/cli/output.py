"""Where words go: results to standard output, everything else to standard error; nothing in them acts on a terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from greenedge.errors import DataError, printable

if TYPE_CHECKING:
    from greenedge.reporting.blocks import CommandResult

_LONGEST_SENTENCE = 300


def say(line: str) -> None:
    """Writes a line for the user to standard error, above any progress bar."""
    tqdm.write(printable(line), file=sys.stderr)


def say_error(sentence: str) -> None:
    """Writes the one line that an error is; the middle of a long one is cut out.

    Of several processes of a training, those behind the first say who they are.
    """
    rank = os.environ.get("RANK", "0")
    shown = printable(sentence if rank == "0" else f"process {rank}: {sentence}")
    if len(shown) > _LONGEST_SENTENCE:
        half = _LONGEST_SENTENCE // 2 - 2
        shown = f"{shown[:half]} … {shown[-half:]}"
    tqdm.write(f"error: {shown}", file=sys.stderr)


def show(text: str) -> None:
    """Writes text to standard output."""
    sys.stdout.write("\n".join(map(printable, text.split("\n"))) + "\n")


def show_json(value: Any) -> None:
    """Writes JSON to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def show_result(result: CommandResult[Any], *, as_json: bool) -> None:
    """Writes a result to standard output: its blocks as text, or its JSON.

    Raises:
        DataError: the result says that something could not be done; it has been shown nevertheless.
    """
    show_json(result.json) if as_json else show(result.text)
    if result.problem is not None:
        raise DataError(result.problem)


@contextmanager
def shown_logs() -> Iterator[None]:
    """Writes what greenedge logs to standard error, a line each."""
    logger, handler = logging.getLogger("greenedge"), _SayingHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _SayingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        say(record.getMessage())
