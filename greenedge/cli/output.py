"""Where words go: results to standard output, everything else to standard error; nothing in them acts on a terminal."""

from __future__ import annotations

import json
import sys
from typing import Any

from tqdm import tqdm

from greenedge.errors import printable

_LONGEST_SENTENCE = 300


def say(line: str) -> None:
    """Writes a line for the user to standard error, above any progress bar."""
    tqdm.write(printable(line), file=sys.stderr)


def say_error(sentence: str) -> None:
    """Writes the one line that an error is; the middle of a long one is cut out."""
    shown = printable(sentence)
    if len(shown) > _LONGEST_SENTENCE:
        half = _LONGEST_SENTENCE // 2 - 2
        shown = f"{shown[:half]} … {shown[-half:]}"
    tqdm.write(f"error: {shown}", file=sys.stderr)


def show(text: str) -> None:
    """Writes a result to standard output."""
    sys.stdout.write("\n".join(map(printable, text.split("\n"))) + "\n")


def show_json(value: Any) -> None:
    """Writes a machine-readable result to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
