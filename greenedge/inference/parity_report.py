"""What was found when an export was compared with the network that it was made of: `parity.json`."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import shake_256
from pathlib import Path
from typing import Final, Literal

import numpy as np

from greenedge.config.convert import Count, NonNegative, Positive
from greenedge.config.records import RecordError, read_record
from greenedge.errors import DataError
from greenedge.inference.export import PARITY

FORMAT: Final = "greenedge-parity/1"
TOLERANCE = 1e-4  # of an exit's largest logit, or of 1 where that is smaller
# Of an export in 8 bits beside itself on another machine, where a pixel's last bit may move it by a step.
STEP_TOLERANCE = 0.1
Source = Literal["calibration", "val", "random"]

_GRID = 8  # colours per side of an image made from a seed


@dataclass(frozen=True)
class ExitParity:
    """How far the logits of one exit are from those of the network.

    Attributes:
        after: the block that the exit comes after.
        scale: the largest absolute logit of the network, at least 1.
        segments: the largest absolute difference of the segments run in a row.
        network: likewise of the whole graph.
    """

    after: str
    scale: Positive
    segments: NonNegative
    network: NonNegative

    @property
    def relative(self) -> float:
        """The larger difference, over the scale."""
        return max(self.segments, self.network) / self.scale


@dataclass(frozen=True)
class SeededLogits:
    """Logits of the network on images that anybody can make again (`seeded_images`).

    Attributes:
        images: how many.
        logits: (E, N, K): of the first K classes at each exit.
    """

    images: Count
    logits: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True)
class ParityReport:
    """An export beside the network that it was made of.

    Attributes:
        format: and version.
        images: that both predicted.
        source: the split that they are of, or `random`: made from a seed.
        reference: what ran the network.
        runtime: what ran the export.
        tolerance: of the logits, over their scale.
        exits: first to last.
        preprocessing: the largest absolute difference between the network's input as the runner and as training makes
            it of the same images; null where there is no runner.
        equal_predictions: share of the images with the same prediction under the policy.
        equal_exits: share of the images that exit at the same exit.
        verdict: an export that differs is not kept.
        seeded: for checks without the network.
    """

    format: Literal["greenedge-parity/1"]
    images: Count
    source: Source
    reference: str
    runtime: str
    tolerance: Positive
    exits: tuple[ExitParity, ...]
    preprocessing: float | None
    equal_predictions: float
    equal_exits: float
    verdict: Literal["equal"]
    seeded: SeededLogits

    @property
    def relative(self) -> float:
        """The largest difference of any exit's logits, over their scale."""
        return max(each.relative for each in self.exits)


def read_parity(folder: Path) -> ParityReport:
    """The report of an export.

    Raises:
        DataError: it is missing or invalid.
    """
    try:
        return read_record(folder / PARITY, ParityReport)
    except OSError as error:
        raise DataError(f"{folder / PARITY}: cannot be read ({error.strerror or error}); export again") from None
    except RecordError as error:
        raise DataError(f"{folder / PARITY}: {error}; export again") from None


def seeded_images(count: int, size: int) -> np.ndarray:
    """uint8 (count, 3, size, size): the same 8 x 8 random colours wherever and whenever they are made.

    From a hash, since random generators change with versions.
    """
    colours = np.frombuffer(shake_256(b"greenedge parity").digest(count * 3 * _GRID**2), np.uint8)
    places = np.arange(size) * _GRID // size
    images: np.ndarray = colours.reshape(count, 3, _GRID, _GRID)[:, :, places][:, :, :, places]
    return images
