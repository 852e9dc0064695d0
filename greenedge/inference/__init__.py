"""Running trained networks: `Engine` stops early for real."""

from greenedge.inference.engine import Engine
from greenedge.inference.scheduler import Predictions

__all__ = ["Engine", "Predictions"]
