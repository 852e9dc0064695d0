"""The commands of greenedge, run as a user does but in this process, which has imported torch already."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from greenedge.cli.main import run


def greenedge(arguments: Sequence[object]) -> int:
    """Runs a command and returns its exit status."""
    sys.argv = ["greenedge", *map(str, arguments)]
    try:
        run()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
