"""Image files kept as they are, one after the other in one file, and decoded whenever they are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from greenedge.data.crops import RandomCrops
from greenedge.data.decode import decode_image
from greenedge.errors import UsageError

# How a prepared data set keeps its images: decoded to one size, or as the files they came in.
Store = Literal["arrays", "originals"]
ARRAYS: Store = "arrays"
ORIGINALS: Store = "originals"

# Pixels per side where nobody says how many.
DEFAULT_SIZES: dict[Store, int] = {ARRAYS: 64, ORIGINALS: 224}


def parse_store(text: str) -> Store:
    """Reads the name of a store.

    Raises:
        UsageError: there is none of this name.
    """
    for store in DEFAULT_SIZES:
        if text == store:
            return store
    raise UsageError(f"--store: there is no {text!r}; known are {', '.join(DEFAULT_SIZES)}")


@dataclass(frozen=True)
class Originals:
    """The files of a split's images.

    Attributes:
        content: uint8 (B,), all files one after the other, memory-mapped.
        offsets: int64 (N + 1,): where each file begins, and B.
        image_size: pixels per side of the images that are read.
    """

    content: np.ndarray
    offsets: np.ndarray
    image_size: int

    def file(self, row: int) -> bytes:
        """Returns the bytes of a file."""
        found: bytes = self.content[self.offsets[row] : self.offsets[row + 1]].tobytes()
        return found

    def decode(self, content: bytes, row: int, name: str, crops: RandomCrops | None) -> np.ndarray:
        """Decodes a file to uint8 (3, S, S): a random crop of it, or as `data prepare` and `predict` do.

        Raises:
            DataError: it cannot be decoded.
        """
        crop = None if crops is None else partial(crops.box, row)
        return decode_image(content, name, self.image_size, crop)
