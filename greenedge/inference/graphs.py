"""A network as graphs, one a segment and one of the whole, and as the content of the files that they become."""

from __future__ import annotations

import copy
import importlib.util
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from greenedge.errors import UsageError
from greenedge.inference.folding import fold_batch_norms
from greenedge.inference.manifest import Kind
from greenedge.inference.member_graph import replace_member_inputs
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import Segment

SUFFIXES: dict[Kind, str] = {"onnx": ".onnx", "torch": ".pt2"}
_ONNX_BYTES = 2_000_000_000  # a protobuf message ends at 2 GiB


class _Chain(nn.Module):
    """Segments in a row, with the outputs that an exported graph has.

    Args:
        segments: each ends at an exit.
        hands_on: whether the last features are among the outputs.
    """

    def __init__(self, segments: Sequence[Segment], *, hands_on: bool) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)
        self.hands_on = hands_on

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """The last features (N, C, H, W), if they are handed on, then the logits (N, classes) of each exit."""
        found = []
        images = features
        for segment in self.segments:
            features, logits = segment(images if segment.reads_images else features)
            found.append(logits)
        return (features, *found) if self.hands_on else tuple(found)


@dataclass(frozen=True, eq=False)
class Graph:
    """What becomes one file.

    Attributes:
        name: of the file.
        module: with no weights but those it uses.
        example: what it reads.
        reads: the name of that.
        gives: the names of its outputs.
    """

    name: str
    module: nn.Module
    example: Tensor
    reads: str
    gives: tuple[str, ...]


def check_exporter(kind: Kind) -> None:
    """Whether what writes this format, and checks what was written, is installed.

    Raises:
        UsageError: it is not.
    """
    needed = ("onnx", "onnxscript", "onnxruntime") if kind == "onnx" else ()
    if any(importlib.util.find_spec(name) is None for name in needed):
        raise UsageError("--format onnx needs onnx, onnxscript and onnxruntime; pip install 'greenedge[onnx]'")


def graph_content(graph: Graph, kind: Kind) -> bytes | memoryview:
    """What is written into a graph's file."""
    return _CONTENT[kind](graph)


def onnx_opset(content: bytes | memoryview) -> str:
    """The version of the operators that an ONNX file uses."""
    import onnx

    model = onnx.load_from_string(bytes(content))
    return str(next(each.version for each in model.opset_import if each.domain == ""))


def segment_graphs(network: MultiExitNetwork, kind: Kind) -> list[Graph]:
    """What becomes files: each segment, then the whole.

    Args:
        network: in any mode, on any device; it is not changed. Batch norms are folded.
        kind: of the files.

    Raises:
        UsageError: the whole is too large for the format.
    """
    own = copy.deepcopy(network).eval().requires_grad_(requires_grad=False).float().cpu()
    fold_batch_norms(own)
    replace_member_inputs(own.segments)

    graphs, suffix = [], SUFFIXES[kind]
    for index, segment in enumerate(own.segments):
        last = index == own.num_exits - 1
        gives: tuple[str, ...] = ("logits",) if last else ("next_features", "logits")
        module = _Chain([segment], hands_on=not last).eval()
        graphs.append(Graph(f"segment-{index}{suffix}", module, _blank(segment), "features", gives))

    whole = _Chain(own.segments, hands_on=False).eval()
    gives = tuple(f"logits_{index}" for index in range(own.num_exits))
    graphs.append(Graph(f"network{suffix}", whole, _blank(own.segments[0]), "images", gives))
    if kind == "onnx":
        _check_size(graphs[-1])
    return graphs


def _blank(segment: Segment) -> Tensor:
    """What a segment reads; two images, since torch takes a batch of one for a constant."""
    return torch.zeros(2, *segment.input_shape)


def _check_size(whole: Graph) -> None:
    size = sum(tensor.nbytes for tensor in whole.module.state_dict().values())
    if size > _ONNX_BYTES:
        raise UsageError(
            f"{size / 1e9:.1f} GB of weights are more than the 2 GB that one ONNX file holds; use --format torch"
        )


def _onnx_content(graph: Graph) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
        program = torch.onnx.export(
            graph.module,
            (graph.example,),
            dynamo=True,
            dynamic_shapes=_dynamic_shapes(),
            input_names=[graph.reads],
            output_names=graph.gives,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces of this machine
    # Not its own `save`, which puts more than 1.5 GB into a second file.
    content: bytes = program.model_proto.SerializeToString()
    return content


def _torch_content(graph: Graph) -> memoryview:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
        program = torch.export.export(graph.module, (graph.example,), dynamic_shapes=_dynamic_shapes())
        # By way of memory: torch's own writer reports a full disk as an error of its program.
        content = io.BytesIO()
        torch.export.save(program, content)
    return content.getbuffer()


_CONTENT: dict[Kind, Callable[[Graph], bytes | memoryview]] = {"onnx": _onnx_content, "torch": _torch_content}


def _dynamic_shapes() -> tuple[dict[int, torch.export.Dim], ...]:
    """Any number of images."""
    return ({0: torch.export.Dim("batch", min=1)},)
