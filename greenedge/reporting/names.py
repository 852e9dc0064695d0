"""What exits are called."""

from __future__ import annotations


def exit_name(index: int, num_exits: int) -> str:
    """`exit 1`, `exit 2`, ..., `final exit`."""
    return "final exit" if index == num_exits - 1 else f"exit {index + 1}"
