"""Where words go: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from tqdm import tqdm


def say(line: str) -> None:
    """Writes a line for the user to standard error, above any progress bar."""
    tqdm.write(line, file=sys.stderr)


def show(text: str) -> None:
    """Writes a result to standard output."""
    sys.stdout.write(text + "\n")


def show_json(value: Any) -> None:
    """Writes a machine-readable result to standard output."""
    show(json.dumps(value, indent=2, allow_nan=False))
