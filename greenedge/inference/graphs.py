"""A network as the content of an export's graphs: one a segment, and one of the whole."""

from __future__ import annotations

import copy
import importlib.util
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from greenedge.errors import UsageError
from greenedge.inference.exported import float_graph
from greenedge.inference.folding import fold_batch_norms
from greenedge.inference.manifest import Kind
from greenedge.inference.member_graph import replace_member_inputs
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import Segment

if TYPE_CHECKING:
    import onnx

Content = bytes | memoryview

SUFFIXES: dict[Kind, str] = {"onnx": ".onnx", "torch": ".pt2"}
_ONNX_BYTES = 2_000_000_000  # a protobuf message ends at 2 GiB
_EXAMPLES = 2  # images, since torch takes a batch of one for a constant


def check_exporter(kind: Kind) -> None:
    """Whether what writes this format, and checks what was written, is installed.

    Raises:
        UsageError: it is not.
    """
    needed = ("onnx", "onnxscript", "onnxruntime") if kind == "onnx" else ()
    if any(importlib.util.find_spec(name) is None for name in needed):
        raise UsageError("--format onnx needs onnx, onnxscript and onnxruntime; pip install 'greenedge[onnx]'")


def onnx_files(network: MultiExitNetwork, graph: onnx.ModelProto | None = None) -> Iterator[tuple[str, Content]]:
    """Names and contents, one at a time: the segments, then the whole.

    Args:
        network: in any mode, on any device; it is not changed.
        graph: the whole network, as `onnx_graphs.whole_graph` makes it, or that quantised; None: made here.

    Raises:
        InstallationError: the network cannot be written as ONNX.
    """
    from greenedge.inference.onnx_graphs import cut_graph, cuts_of, without_boundaries

    whole = graph or float_graph(network)
    for index, cut in enumerate(cuts_of(network)):
        yield f"segment-{index}.onnx", cut_graph(whole, cut).SerializeToString()
    yield "network.onnx", without_boundaries(whole).SerializeToString()


def torch_files(network: MultiExitNetwork) -> Iterator[tuple[str, Content]]:
    """Names and contents, one at a time: the segments, then the whole.

    Args:
        network: in any mode, on any device; it is not changed. Batch norms are folded.
    """
    own = copy.deepcopy(network).eval().requires_grad_(requires_grad=False).float().cpu()
    fold_batch_norms(own)
    replace_member_inputs(own.segments)
    for index, segment in enumerate(own.segments):
        chain = _Chain([segment], hands_on=index < own.num_exits - 1).eval()
        yield f"segment-{index}.pt2", _program(chain, _blank(segment), *segment.blank_logits(_EXAMPLES))
    yield "network.pt2", _program(_Chain(own.segments, hands_on=False).eval(), _blank(own.segments[0]))


def check_size(network: MultiExitNetwork) -> None:
    """Whether one ONNX file can hold a network.

    Raises:
        UsageError: it cannot.
    """
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > _ONNX_BYTES:
        raise UsageError(
            f"{size / 1e9:.1f} GB of weights are more than the 2 GB that one ONNX file holds; use --format torch"
        )


def onnx_opset(content: Content) -> str:
    """The version of the operators that an ONNX file uses."""
    import onnx

    model = onnx.load_from_string(bytes(content))
    return str(next(each.version for each in model.opset_import if each.domain == ""))


class _Chain(nn.Module):
    """Segments in a row, with the outputs that an exported program has.

    Args:
        segments: each ends at an exit.
        hands_on: whether the last features are among the outputs.
    """

    def __init__(self, segments: Sequence[Segment], *, hands_on: bool) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)
        self.hands_on = hands_on

    def forward(self, features: Tensor, former_logits: Tensor | None = None) -> tuple[Tensor, ...]:
        """The last features (N, C, H, W), if they are handed on, then the logits (N, classes) of each exit."""
        found = []
        images, logits = features, former_logits
        for segment in self.segments:
            features, logits = segment(images if segment.reads_images else features, logits)
            found.append(logits)
        return (features, *found) if self.hands_on else tuple(found)


def _blank(segment: Segment) -> Tensor:
    """What a segment reads."""
    return torch.zeros(_EXAMPLES, *segment.input_shape)


def _program(module: nn.Module, *example: Tensor) -> Content:
    any_number = ({0: torch.export.Dim("batch", min=1)},) * len(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
        program = torch.export.export(module, example, dynamic_shapes=any_number)
        # By way of memory: torch's own writer reports a full disk as an error of its program.
        content = io.BytesIO()
        torch.export.save(program, content)
    return content.getbuffer()
