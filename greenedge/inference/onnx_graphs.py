"""A network as one ONNX graph, and that graph cut at the exits; needs the extra `onnx`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from greenedge.inference.folding import fold_batch_norms
from greenedge.inference.member_graph import replace_member_inputs
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import Segment, Shape

IMAGES, FEATURES, NEXT_FEATURES, LOGITS = "images", "features", "next_features", "logits"
FORMER_LOGITS = "former_logits"


@dataclass(frozen=True)
class Cut:
    """What a segment of a graph reads and gives, by the names that the whole graph has for them.

    Attributes:
        reads: the tensor that it starts from.
        shape: (C, H, W) of that.
        hands_on: the features that the next segment starts from; None: nothing is handed on.
        next_shape: (C, H, W) of those.
        logits: of the exit that it ends at.
        former_logits: of the exit before, where it reads them; else None.
    """

    reads: str
    shape: Shape
    hands_on: str | None
    next_shape: Shape | None
    logits: str
    former_logits: str | None


class _Whole(nn.Module):
    """All segments in a row: the logits of every exit, then the features after every early one."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, boundaries = [], []
        features, found = images, None
        for segment in self.segments:
            features, found = segment(images if segment.reads_images else features, found)
            logits.append(found)
            boundaries.append(features)
        return (*logits, *boundaries[:-1])


def whole_graph(network: MultiExitNetwork) -> onnx.ModelProto:
    """One graph from `images` (N, 3, S, S) to `logits_0`, ..., and `features_0`, ... after each early exit's block.

    Args:
        network: in any mode, on any device; it is not changed. Batch norms are folded.
    """
    own = copy.deepcopy(network).eval().requires_grad_(requires_grad=False).float().cpu()
    # Of weights in channels last, the exporter makes nodes that ask the images for their shape.
    own.to(memory_format=torch.contiguous_format)
    fold_batch_norms(own)
    replace_member_inputs(own.segments)

    names = [f"{LOGITS}_{index}" for index in range(own.num_exits)]
    names += [f"{FEATURES}_{index}" for index in range(own.num_exits - 1)]
    blank = torch.zeros(2, *own.segments[0].input_shape)  # two, since torch takes a batch of one for a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
        program = torch.onnx.export(
            _Whole(own.segments).eval(),
            (blank,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=[IMAGES],
            output_names=names,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces of this machine
    model: onnx.ModelProto = program.model_proto
    return model


def cuts_of(network: MultiExitNetwork) -> list[Cut]:
    """Where `whole_graph` is cut: after the blocks of each early exit."""
    segments = network.segments
    found = []
    for index, segment in enumerate(segments):
        reads = IMAGES if segment.reads_images else f"{FEATURES}_{index - 1}"
        last = index == len(segments) - 1
        hands_on, shape = (None, None) if last else (f"{FEATURES}_{index}", segment.shapes[-1])
        former = f"{LOGITS}_{index - 1}" if segment.reads_logits else None
        found.append(Cut(reads, segment.input_shape, hands_on, shape, f"{LOGITS}_{index}", former))
    return found


def without_boundaries(model: onnx.ModelProto) -> onnx.ModelProto:
    """The whole graph with the logits as its only outputs."""
    return _up_to(model, [value for value in model.graph.output if value.name.startswith(LOGITS)])


def without_early_exits(model: onnx.ModelProto) -> onnx.ModelProto:
    """The whole graph with the last logits as its only output, and nothing that they do not need."""
    return _up_to(model, [value for value in model.graph.output if value.name.startswith(LOGITS)][-1:])


def _up_to(model: onnx.ModelProto, outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
    nodes = _between(model, (), [value.name for value in outputs])
    return _model_of(model, nodes, [model.graph.input[0]], outputs)


def cut_graph(model: onnx.ModelProto, cut: Cut) -> onnx.ModelProto:
    """One segment of a whole graph, from `features`, some with `former_logits`, to `next_features` and `logits`.

    Where the features between two segments are quantised, their integers are handed on: a quarter of the bytes, and
    the same numbers as in the whole graph.
    """
    produced = {name: node for node in model.graph.node for name in node.output}
    reads, hands_on = _stored(produced, cut.reads), cut.hands_on and _stored(produced, cut.hands_on)
    wanted = [cut.logits] if hands_on is None else [hands_on, cut.logits]
    given = [name for name in (reads, cut.former_logits) if name is not None]
    nodes, types = [_asking(reads, node) for node in _between(model, given, wanted)], _quantised_types(model)

    classes = next(value for value in model.graph.output if value.name == cut.logits).type.tensor_type.shape.dim[1]
    inputs, outputs = [_features_info(types, reads, cut.shape)], [_logits_info(cut.logits, classes.dim_value)]
    names = {reads: FEATURES, cut.logits: LOGITS}
    if hands_on is not None:
        outputs.insert(0, _features_info(types, hands_on, cut.next_shape))
        names[hands_on] = NEXT_FEATURES
    if cut.former_logits is not None:
        inputs.append(_logits_info(cut.former_logits, classes.dim_value))
        names[cut.former_logits] = FORMER_LOGITS
    return _renamed(_model_of(model, nodes, inputs, outputs), names)


def _asking(reads: str, node: onnx.NodeProto) -> onnx.NodeProto:
    """A node that asks the images how many they are, asking what the segment reads; any other node as it is."""
    limits = [(each.name, each.i) for each in node.attribute]
    if node.op_type != "Shape" or node.input[0] != IMAGES or sorted(limits) != [("end", 1), ("start", 0)]:
        return node
    asking = copy.deepcopy(node)
    asking.input[0] = reads
    return asking


def _stored(produced: dict[str, onnx.NodeProto], name: str) -> str:
    """The quantised tensor that a tensor is made from at once, where there is one; else itself."""
    node = produced.get(name)
    return str(node.input[0]) if node is not None and node.op_type == "DequantizeLinear" else name


def _features_info(types: dict[str, int], name: str, shape: Shape | None) -> onnx.ValueInfoProto:
    assert shape is not None
    return helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), ["batch", *shape])


def _logits_info(name: str, classes: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", classes])


def _quantised_types(model: onnx.ModelProto) -> dict[str, int]:
    """The integer type of each quantised tensor, which is that of its zero point."""
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {node.output[0]: types[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}


def _between(model: onnx.ModelProto, given: Collection[str], wanted: Collection[str]) -> list[onnx.NodeProto]:
    """The nodes that lead from some tensors to others, in order."""
    needed, kept = set(wanted), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output) - set(given):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]


def _model_of(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(nodes, model.graph.name, inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _renamed(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    return model
