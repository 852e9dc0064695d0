"""An export as a backend of the engine: its segments in ONNX Runtime or OpenVINO."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from greenedge.config.records import digest_of
from greenedge.device.precision import RunPrecision
from greenedge.errors import DataError, InstallationError
from greenedge.inference.manifest import Manifest
from greenedge.inference.runtimes import Graph, Runtime, open_graph

if TYPE_CHECKING:
    import onnx

    from greenedge.models.multi_exit import MultiExitNetwork


@dataclass(frozen=True, eq=False)
class ExportedSegment:
    """A graph from one exit to the next.

    Attributes:
        exit_index: the exit that it ends at, from 0.
        reads_images: it reads the network's images, in place of the features of the segment before.
        reads_logits: it reads the logits of the exit before, too.
        graph: gives the features to hand on, unless it is the last, and the logits.
    """

    exit_index: int
    reads_images: bool
    reads_logits: bool
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
    precision: RunPrecision
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

    def run(self, index: int, features: Tensor, *former_logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features that a segment hands on (the last: those it was given), and the logits of its exit."""
        tensors = zip(("features", "former_logits"), (features, *former_logits), strict=False)
        inputs = {name: tensor.contiguous().numpy() for name, tensor in tensors}
        *handed_on, logits = self.segments[index].graph(inputs)
        return torch.from_numpy(handed_on[0]) if handed_on else features, torch.from_numpy(logits)


def open_export(folder: Path, manifest: Manifest, runtime: Runtime) -> ExportedNetwork:
    """Opens the segments of an export.

    Args:
        folder: where it lies.
        manifest: of it, of the kind `onnx`.
        runtime: that runs it.

    Raises:
        DataError: a file is missing, or is not the one that was exported.
        InstallationError: the runtime is not installed, or cannot run a graph.
    """
    contents = (_read_graph(folder, manifest, name) for name in manifest.graphs)
    graphs = [open_graph(content, runtime, torch.get_num_threads()) for content in contents]
    reads_images = [index == 0 or each.reads_images for index, each in enumerate(manifest.exits)]
    reads_logits = [each.reads_logits for each in manifest.exits]
    segments = list(map(ExportedSegment, range(len(graphs)), reads_images, reads_logits, graphs))
    gflops = torch.tensor([each.gflops for each in manifest.exits], dtype=torch.float64)
    return ExportedNetwork(segments, gflops, manifest.image_size, manifest.precision, runtime)


def open_backbone(folder: Path, manifest: Manifest, runtime: Runtime) -> Callable[[Tensor], Tensor]:
    """Opens the whole graph of an export without its early exits, from images (N, 3, S, S) to logits (N, C).

    Args:
        folder: where it lies.
        manifest: of it, of the kind `onnx`.
        runtime: that runs it.

    Raises:
        DataError: the file is missing, or is not the one that was exported.
        InstallationError: the runtime or onnx is not installed, or the runtime cannot run the graph.
    """
    content = _read_graph(folder, manifest, manifest.network)
    if importlib.util.find_spec("onnx") is None:
        raise InstallationError("the backbone is cut out of the whole graph by onnx; pip install 'greenedge[onnx]'")
    import onnx

    from greenedge.inference.onnx_graphs import IMAGES, without_early_exits

    backbone = without_early_exits(onnx.load_model_from_string(content)).SerializeToString()
    graph = open_graph(backbone, runtime, torch.get_num_threads())
    return lambda images: torch.from_numpy(graph({IMAGES: images.contiguous().numpy()})[0])


def _read_graph(folder: Path, manifest: Manifest, name: str) -> bytes:
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); export again") from None
    if digest_of(content) != manifest.files[name]:
        raise DataError(f"{path}: is not the file that was exported with the manifest; export again")
    return content


def float_graph(network: MultiExitNetwork) -> onnx.ModelProto:
    """The whole network as one ONNX graph in float32, which takes seconds.

    Raises:
        InstallationError: a package that writes ONNX is not installed, or cannot write this network.
    """
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript")):
        raise InstallationError("graphs need onnx and onnxscript; pip install 'greenedge[onnx]'")
    from greenedge.inference import onnx_graphs

    try:
        return onnx_graphs.whole_graph(network)
    except (RuntimeError, ValueError) as error:  # the exporter's are RuntimeErrors; protobuf's, beyond 2 GiB, the other
        reason = " ".join(str(error).split())[:200]
        raise InstallationError(f"the network cannot be written as ONNX ({reason})") from error


def open_graphs(
    graph: onnx.ModelProto, network: MultiExitNetwork, gflops: Tensor, precision: RunPrecision, runtime: Runtime
) -> ExportedNetwork:
    """Opens the segments of a whole graph in memory.

    Args:
        graph: of `onnx_graphs.whole_graph`, quantised or not.
        network: that it was made of.
        gflops: float64 (E,), cost of one image that exits at each exit.
        precision: of the graph.
        runtime: that runs it.

    Raises:
        InstallationError: the runtime is not installed, or cannot run a graph.
    """
    from greenedge.inference.onnx_graphs import cut_graph, cuts_of

    segments = []
    for index, (segment, cut) in enumerate(zip(network.segments, cuts_of(network), strict=True)):
        opened = open_graph(cut_graph(graph, cut).SerializeToString(), runtime, torch.get_num_threads())
        segments.append(ExportedSegment(index, segment.reads_images, segment.reads_logits, opened))
    return ExportedNetwork(segments, gflops, network.image_size, precision, runtime)
