"""A whole graph in 8 bits, for backends.py and operators.py; needs the extra `onnx`."""

from __future__ import annotations

import onnx
from torch import Tensor

from greenedge.device.processor import sums_are_exact
from greenedge.inference.quantization import Quantizer


def in_8_bits(graph: onnx.ModelProto, images: Tensor) -> onnx.ModelProto:
    """Quantises as an export on this machine does, with the ranges of the first 32 images."""
    with Quantizer(graph, images[:32].numpy(), 8 if sums_are_exact() else 7) as quantizer:
        return quantizer.quantize()
