"""How an export in 8 bits divides the calibration images, so that its policy is chosen on images new to its graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from greenedge.data.prepared import PreparedSplit
from greenedge.errors import UsageError

_RANGE_IMAGES, _SEARCH_IMAGES = 128, 1500
_MIN_IMAGES = 20


def divide_calibration(split: PreparedSplit) -> tuple[PreparedSplit, PreparedSplit, PreparedSplit]:
    """For the ranges of activations, for the choice of layers, and the rest, which is at least half.

    Raises:
        UsageError: there are too few.
    """
    if len(split) < _MIN_IMAGES:
        raise UsageError(
            f"int8 needs at least {_MIN_IMAGES} calibration images, and there are {len(split)}; raise "
            "data.calibration_per_class"
        )
    order = np.random.default_rng(0).permutation(split.rows)
    held = min(_RANGE_IMAGES + _SEARCH_IMAGES, len(split) // 2)
    first = min(_RANGE_IMAGES, held // 2)
    parts = order[:first], order[first:held], order[held:]
    ranges, search, rest = (replace(split, rows=np.sort(rows)) for rows in parts)
    return ranges, search, rest
