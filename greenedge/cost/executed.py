"""Counts the GFLOPs that are executed, operator by operator as they are dispatched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

# The dispatch counter knows only these operators; a static count must be restricted to them to be compared.
COUNTED_OPERATORS = ("conv", "linear", "matmul", "addmm", "bmm")


def executed_gflops(run: Callable[[], object]) -> float:
    """Counts GFLOPs of all convolutions and matrix products in `run`; one multiply-add is 1, as in fvcore.

    Args:
        run: what to count; compiled code is not seen.
    """
    with FlopCounterMode(display=False, custom_mapping=_packed_convolutions()) as counter:
        run()
    # The counter takes a multiply-add for two.
    return float(counter.get_total_flops()) / 2e9


def _packed_convolutions() -> dict[Any, Any]:
    operator = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    return {} if operator is None else {operator: _packed_convolution}


def _packed_convolution(
    input_shape: list[int], weight_shape: list[int], *_: object, out_shape: list[int], **__: object
) -> int:
    count: int = conv_flop_count(input_shape, weight_shape, out_shape)
    return count
