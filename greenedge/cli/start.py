"""Where the `greenedge` command begins: with an interrupt answered in a word before anything else is imported."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def run() -> None:
    """The `greenedge` command; see `greenedge.cli.main.run`."""
    signal.signal(signal.SIGINT, _interrupted)
    from greenedge.cli.main import run as run_command

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_command()


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    sys.stderr.write("error: interrupted\n")
    sys.exit(130)
