"""Random crops of whole images, each drawn from the image's own place in a run and from nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]

_ATTEMPTS = 10


@dataclass(frozen=True)
class RandomCrops:
    """Crops of random area and aspect ratio (Szegedy et al. 2015), by the law of torchvision's `RandomResizedCrop`.

    Attributes:
        min_area: smallest crop, as a fraction of the image's area; the largest is the whole image.
        max_ratio: largest aspect ratio, the longer side over the shorter one.
        seed: in [0, 2^63); with an image's row it decides the crop, whoever reads the image, and when.
    """

    min_area: float
    max_ratio: float
    seed: int = 0

    def box(self, row: int, width: int, height: int) -> Box:
        """Draws the crop of an image: left, top, right and bottom in pixels.

        Args:
            row: of the image among those that are stored.
            width: of the image.
            height: of the image.
        """
        random = np.random.Generator(np.random.Philox(key=[self.seed, row]))
        longest = math.log(self.max_ratio)
        for _ in range(_ATTEMPTS):
            area = width * height * random.uniform(self.min_area, 1)
            ratio = math.exp(random.uniform(-longest, longest))
            across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < across <= width and 0 < down <= height:
                left, top = int(random.integers(width - across + 1)), int(random.integers(height - down + 1))
                return left, top, left + across, top + down
        return self._centre(width, height)

    def _centre(self, width: int, height: int) -> Box:
        """The largest crop at the centre whose aspect ratio is allowed."""
        across = min(width, max(1, round(height * self.max_ratio)))
        down = min(height, max(1, round(width * self.max_ratio)))
        left, top = (width - across) // 2, (height - down) // 2
        return left, top, left + across, top + down
