"""An export as a backend of the engine: its segments in ONNX Runtime or OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from greenedge.inference.runtimes import Graph, Runtime


@dataclass(frozen=True, eq=False)
class ExportedSegment:
    """A graph from one exit to the next.

    Attributes:
        exit_index: the exit that it ends at, from 0.
        reads_images: it reads the network's images, in place of the features of the segment before.
        graph: gives the features to hand on, unless it is the last, and the logits.
    """

    exit_index: int
    reads_images: bool
    graph: Graph


@dataclass(frozen=True, eq=False)
class ExportedNetwork:
    """Segments of an export, which run on the CPU; a `Backend`.

    Attributes:
        segments: in order.
        gflops: float64 (E,), cost of one image that exits at each exit.
        image_size: pixels per side of the images.
        precision: `float32` or `int8`.
        runtime: that the graphs run in.
    """

    segments: Sequence[ExportedSegment]
    gflops: Tensor
    image_size: int
    precision: str
    runtime: Runtime
    device: torch.device = torch.device("cpu")
    sizes: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"ExportedNetwork({len(self.segments)} segments in {self.precision}, {self.runtime})"

    @property
    def keeps_images(self) -> bool:
        """Whether segments beyond the first read images, as in a cascade."""
        return any(segment.reads_images for segment in self.segments[1:])

    def to_input_format(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) as contiguous float32; the same tensor where they are so."""
        return images.to(dtype=torch.float32).contiguous()

    def run(self, index: int, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features that a segment hands on (the last: those it was given), and the logits of its exit."""
        *handed_on, logits = self.segments[index].graph({"features": features.contiguous().numpy()})
        return torch.from_numpy(handed_on[0]) if handed_on else features, torch.from_numpy(logits)
