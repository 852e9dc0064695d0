"""What the scheduler runs: segments of a network, whatever computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class SegmentInfo(Protocol):
    """What the scheduler must know of a segment."""

    @property
    def exit_index(self) -> int | None:
        """The exit that it ends at, from 0; None: it ends between exits."""

    @property
    def reads_images(self) -> bool:
        """Whether it reads the network's images, in place of the features of the segment before."""

    @property
    def reads_logits(self) -> bool:
        """Whether it reads the logits of the exit before, too."""


class Backend(Protocol):
    """A network in segments that run in turn; `OptimizedNetwork` is PyTorch's, `ExportedNetwork` that of files."""

    @property
    def segments(self) -> Sequence[SegmentInfo]:
        """In order."""

    @property
    def device(self) -> torch.device:
        """Where features lie."""

    @property
    def gflops(self) -> Tensor:
        """float64 (E,), cost of one image that exits at each exit."""

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """The only numbers of images that a segment may take at a time; None: any."""

    @property
    def image_size(self) -> int:
        """Pixels per side of the images."""

    @property
    def precision(self) -> str:
        """`float32`, `bf16` or `int8`."""

    @property
    def keeps_images(self) -> bool:
        """Whether segments beyond the first read images, as in a cascade."""

    def to_input_format(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in the type and layout that the first segment reads; the same tensor where they are."""

    def run(self, index: int, features: Tensor, *former_logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features that a segment hands on, and the float32 logits of the exit that it ends at, or None.

        Args:
            index: of the segment.
            features: what it reads; images, where it `reads_images`.
            former_logits: of the exit before, where it `reads_logits`.
        """
