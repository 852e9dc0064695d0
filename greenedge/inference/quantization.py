"""A whole graph in integers of 8 bits, by ONNX Runtime's static quantisation; needs the extra `onnx`."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from greenedge.device.processor import is_arm
from greenedge.errors import InstallationError
from greenedge.inference.onnx_graphs import IMAGES

WeightBits = Literal[8, 7]

# The layers that give logits, the means and vectors that they read, and what resizes images for a cascade's members.
_FLOAT_OPERATORS = {"Gemm", "MatMul", "ReduceMean", "GlobalAveragePool", "Reshape", "Flatten", "LayerNormalization"}
_BATCH = 32


class Quantizer:
    """Makes graphs in 8 bits of one whole graph, whose activations' ranges are measured once.

    QDQ, weights per channel, logit layers in float32. Activations are unsigned, on ARM signed. A context manager, which
    removes its temporary files.

    Args:
        model: of `onnx_graphs.whole_graph`.
        images: float32 (N, 3, S, S), normalised, that ranges are taken from; N at least 1.
        weight_bits: 8, or 7 for convolutions that are not depthwise. On x64 processors without VNNI an instruction adds
            two products in 16 bits, which overflow where weights take 8. Depthwise layers are computed otherwise.

    Raises:
        InstallationError: ONNX Runtime cannot quantise the graph.
    """

    def __init__(self, model: onnx.ModelProto, images: np.ndarray, weight_bits: WeightBits) -> None:
        self._images, self._weight_bits = images, weight_bits
        self._temporary = tempfile.TemporaryDirectory(prefix="greenedge-int8-")
        folder = Path(self._temporary.name)
        self._prepared, self._ranges, self._done = (folder / name for name in ("prepared.onnx", "ranges", "int8.onnx"))
        with _quiet():
            onnx.save(model, folder / "plain.onnx")
            quant_pre_process(str(folder / "plain.onnx"), str(self._prepared))
        graph = onnx.load(self._prepared).graph
        shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._graph = graph
        # Name -> shape of the weights: (outputs, inputs of a group, ...).
        self._weights = {node.name: (node.input[1], shapes[node.input[1]]) for node in _convolutions(graph)}

    def __enter__(self) -> Quantizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    @property
    def layers(self) -> list[str]:
        """Names of the convolutions, first to last."""
        return list(self._weights)

    def quantize(self, keep_float: Collection[str] = ()) -> onnx.ModelProto:
        """The graph in 8 bits, but for some of its `layers` and the activations and sums that follow those."""
        all_bits = {"quant_type": QuantType.QInt8, "reduce_range": False, "symmetric": True, "axis": 0}
        depthwise = [weights for weights, shape in self._weights.values() if shape[1] == 1]
        with _quiet():
            quantize_static(
                str(self._prepared),
                str(self._done),
                _Images(self._images),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QInt8 if is_arm() else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=self._weight_bits == 7,
                nodes_to_exclude=_float_nodes(self._graph, keep_float),
                extra_options={"TensorQuantOverrides": {weights: [all_bits] for weights in depthwise}},
                calibration_cache_path=str(self._ranges),
            )
        return onnx.load(self._done)


class _Images(CalibrationDataReader):  # type: ignore[misc]  # of a package without types
    """Images in equal batches."""

    def __init__(self, images: np.ndarray) -> None:
        size = next(size for size in range(min(_BATCH, len(images)), 0, -1) if len(images) % size == 0)
        self._batches: Iterator[np.ndarray] = iter(np.split(images, len(images) // size))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {IMAGES: batch}


def _convolutions(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == "Conv"]


def _float_nodes(graph: onnx.GraphProto, keep_float: Collection[str]) -> list[str]:
    """What stays in float32: some operators and convolutions, with all that follows up to the next convolution."""
    found, floats = [], set[str]()
    for node in graph.node:  # in an order in which they could run
        follows = node.op_type != "Conv" and not floats.isdisjoint(node.input)
        if node.op_type in _FLOAT_OPERATORS or node.name in keep_float or follows:
            found.append(node.name)
            floats.update(node.output)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's hints; giving them to the root logger, it would leave a handler there too.

    Raises:
        InstallationError: it cannot do what it is asked for.
    """
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:  # it raises many kinds of errors
        reason = " ".join(str(error).split())[:200]
        raise InstallationError(f"onnxruntime cannot quantise the network ({reason})") from error
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
