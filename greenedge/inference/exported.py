"""Graphs as a backend of the engine: segments in ONNX Runtime or OpenVINO, from an export or made here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from greenedge.errors import InstallationError
from greenedge.inference.runtimes import Graph, Runtime, open_graph
from greenedge.models.multi_exit import MultiExitNetwork


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


def open_network(
    network: MultiExitNetwork,
    runtime: Runtime,
    gflops: Sequence[float],
    threads: int,
    graphs: Sequence[bytes] | None = None,
) -> ExportedNetwork:
    """A network's segments in a runtime, in float32, with no files between.

    Args:
        network: in any mode, on any device; it is not changed.
        runtime: that runs the segments.
        gflops: (E,), cost of one image that exits at each exit.
        threads: that the runtime may use.
        graphs: of the segments, where `segment_graphs` has made them already, which takes seconds.

    Raises:
        InstallationError: the runtime, or a package that writes ONNX, is not installed, or the graphs cannot be made or
            run.
    """
    contents = segment_graphs(network) if graphs is None else graphs
    segments = [
        ExportedSegment(index, segment.reads_images, open_graph(content, runtime, threads))
        for index, (segment, content) in enumerate(zip(network.segments, contents, strict=True))
    ]
    costs = torch.tensor(gflops, dtype=torch.float64)
    return ExportedNetwork(segments, costs, network.image_size, "float32", runtime)


def segment_graphs(network: MultiExitNetwork) -> list[bytes]:
    """The ONNX graph of each segment, from one to the next exit, in float32.

    Raises:
        InstallationError: a package that writes ONNX is not installed, or cannot write this network.
    """
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript")):
        raise InstallationError("graphs need onnx and onnxscript; pip install 'greenedge[onnx]'")
    from greenedge.inference import onnx_graphs

    try:
        whole = onnx_graphs.whole_graph(network)
        return [onnx_graphs.cut_graph(whole, cut).SerializeToString() for cut in onnx_graphs.cuts_of(network)]
    except (RuntimeError, ValueError) as error:  # the exporter's are RuntimeErrors; protobuf's, beyond 2 GiB, the other
        reason = " ".join(str(error).split())[:200]
        raise InstallationError(f"the network cannot be written as ONNX ({reason})") from error
