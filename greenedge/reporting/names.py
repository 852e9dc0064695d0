"""What exits and runs are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def exit_name(index: int, num_exits: int) -> str:
    """`exit 1`, `exit 2`, ..., `final exit`."""
    return "final exit" if index == num_exits - 1 else f"exit {index + 1}"


def short_name(name: str, letters: int = 22) -> str:
    """The first of a class's names, cut where it has more letters."""
    first = name.partition(",")[0]
    return first if len(first) <= letters else f"{first[: letters - 1]}…"


def run_names(runs: Sequence[Path], checkpoint: str) -> list[str]:
    """The shortest ends of paths that tell runs apart.

    Args:
        runs: run directories or checkpoints.
        checkpoint: the name of a checkpoint in a run directory, which says nothing.
    """
    parts = [[part for part in path.parts if part != checkpoint] or [str(path)] for path in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number + 1})" for number, name in enumerate(names)]
