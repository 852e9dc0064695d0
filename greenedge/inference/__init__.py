"""Running trained networks: `Engine` stops early for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenedge.inference.engine import Engine
    from greenedge.inference.scheduler import Predictions

__all__ = ["Engine", "Predictions"]


def __getattr__(name: str) -> object:
    """The engine takes a second to import, and a command that reads a manifest or kept outputs does without."""
    if name == "Engine":
        from greenedge.inference.engine import Engine

        return Engine
    if name == "Predictions":
        from greenedge.inference.scheduler import Predictions

        return Predictions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
