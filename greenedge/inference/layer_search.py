"""Which layers of a quantised graph must stay in float32, found by leaving each of them so and looking."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
from tqdm import tqdm

from greenedge.inference.onnx_graphs import IMAGES, without_boundaries
from greenedge.inference.quantization import Quantizer
from greenedge.inference.runtimes import open_graph

_BATCH = 64
_RANKING_IMAGES = 128

_log = logging.getLogger("greenedge")


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A whole graph in 8 bits.

    Attributes:
        model: the graph.
        keep_float: names of the convolutions that stayed in float32.
        float_share: their share of all multiply-adds of convolutions.
        loss: accuracy lost on the images of the search, of the exit that lost most, in [-1, 1].
        loss_before: with every convolution in 8 bits.
    """

    model: onnx.ModelProto
    keep_float: tuple[str, ...]
    float_share: float
    loss: float
    loss_before: float

    def __repr__(self) -> str:
        return f"QuantizedGraph({len(self.keep_float)} convolutions in float32, {100 * self.loss:.2f} points lost)"


def quantize_within(
    model: onnx.ModelProto,
    quantizer: Quantizer,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    max_loss: float,
    max_float_share: float,
    threads: int,
) -> QuantizedGraph:
    """Quantises every convolution, or, where that costs too much accuracy, all but the sensitive ones.

    Each convolution is left in float32 by itself, and they are ranked by how much nearer that brings the logits of all
    exits to those of the float32 graph. By that ranking one after the other stays in float32, until accuracy is as
    asked or the budget is spent.

    Args:
        model: the float32 graph.
        quantizer: of that.
        images: float32 (N, 3, S, S), normalised.
        labels: int64 (N,).
        max_loss: of accuracy, by any exit, in (0, 1).
        max_float_share: of the multiply-adds of convolutions, in [0, 1]: what speed may be given for accuracy.
        threads: that a runtime may use.

    Returns:
        The best that was found; its loss may be more than asked.
    """

    def logits_of(graph: onnx.ModelProto, rows: slice = slice(None)) -> np.ndarray:
        run = open_graph(without_boundaries(graph).SerializeToString(), "onnxruntime", threads)
        starts = range(0, len(images[rows]), _BATCH)
        return np.concatenate([np.stack(run({IMAGES: images[rows][start : start + _BATCH]})) for start in starts], 1)

    exact = logits_of(model)
    right = (exact.argmax(axis=2) == labels).mean(axis=1)

    def loss_of(graph: onnx.ModelProto) -> float:
        return float((right - (logits_of(graph).argmax(axis=2) == labels).mean(axis=1)).max())

    whole = quantizer.quantize()
    loss = loss_of(whole)
    found = QuantizedGraph(whole, (), 0.0, loss, loss_before=loss)
    if found.loss > max_loss and max_float_share > 0:
        _log.info(
            "%.2f points are lost with every convolution in 8 bits; looking for those that must stay in float32",
            100 * found.loss,
        )
        first = slice(_RANKING_IMAGES)
        ranking = _rank_layers(quantizer, lambda graph: _distance(logits_of(graph, first), exact[:, first]))
        found = _keep_layers(quantizer, ranking, layer_shares(model), loss_of, found, max_loss, max_float_share)
    return found


def layer_shares(model: onnx.ModelProto) -> dict[str, float]:
    """The share of each convolution in the multiply-adds of all of them."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = (*inferred.value_info, *inferred.output)
    sides = {value.name: [each.dim_value for each in value.type.tensor_type.shape.dim] for value in known}
    weights = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    counts = {node.name: weights[node.input[1]] * math.prod(sides[node.output[0]][2:]) for node in convolutions}
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _rank_layers(quantizer: Quantizer, distance: Callable[[onnx.ModelProto], float]) -> list[str]:
    """Convolutions by the distance that is left when each stays in float32, the most useful first."""
    layers = quantizer.layers
    bar = tqdm(layers, desc="measuring layers", unit=" layers", disable=None, leave=False)
    left = {layer: distance(quantizer.quantize([layer])) for layer in bar}
    return sorted(layers, key=left.__getitem__)


def _keep_layers(
    quantizer: Quantizer,
    ranking: list[str],
    shares: dict[str, float],
    loss_of: Callable[[onnx.ModelProto], float],
    best: QuantizedGraph,
    max_loss: float,
    max_float_share: float,
) -> QuantizedGraph:
    kept: list[str] = []
    spent = 0.0
    for layer in ranking:
        if spent + shares[layer] > max_float_share:
            continue
        kept.append(layer)
        spent += shares[layer]
        model = quantizer.quantize(kept)
        loss = loss_of(model)
        if loss < best.loss:
            best = replace(best, model=model, keep_float=tuple(kept), float_share=spent, loss=loss)
        if loss <= max_loss:
            break
    return best


def _distance(logits: np.ndarray, exact: np.ndarray) -> float:
    """The mean squared difference of logits (E, N, C), each exit by its own scale."""
    scale = exact.var(axis=(1, 2), keepdims=True)
    return float((((logits - exact) ** 2) / scale).mean())
