"""Running trained networks: `Engine` stops early for real."""

from greenedge.inference.engine import Engine
from greenedge.inference.flow import Answers

__all__ = ["Answers", "Engine"]
