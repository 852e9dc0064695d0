"""Counts GFLOPs and parameters of every exit with fvcore (one multiply-add is 1)."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn

from greenedge.cost.table import ExitCost, NetworkCost
from greenedge.errors import MeasurementError
from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import exits_needed

with warnings.catch_warnings():
    # fvcore scripts functions on import, which torch has deprecated.
    warnings.simplefilter("ignore")
    from fvcore.nn import FlopCountAnalysis


def count_costs(network: MultiExitNetwork, operators: Collection[str] | None = None) -> NetworkCost:
    """Counts every segment and head of a network on one blank image.

    Args:
        network: its training or evaluation mode is restored.
        operators: count only these, by fvcore's names (`conv`, `linear`, `batch_norm`, ...); None: all that it knows.

    Raises:
        MeasurementError: fvcore cannot trace the network.
    """
    side = network.image_size
    image = torch.zeros(1, 3, side, side, device=next(network.parameters()).device)
    uncounted: Counter[str] = Counter()
    blocks, heads = [], []
    with evaluation_mode(network), torch.no_grad():
        features, logits = image, torch.empty(0)
        for segment in network.segments:
            features = image if segment.reads_images else features
            blocks.append(_count(segment.blocks, features, operators, uncounted))
            features = segment.blocks(features)
            heads.append(_count(cast(nn.Module, segment.classifier), features, operators, uncounted))
            if segment.former is not None:
                heads[-1] += _count(segment.former, logits, operators, uncounted)
            logits = segment.classify(features, logits)

    own_parameters = [sum(map(_parameters, segment.children())) for segment in network.segments]
    standalone: list[float] = []
    running = 0.0
    for index, (segment, block) in enumerate(zip(network.segments, blocks, strict=True)):
        running = block if segment.reads_images else running + block  # another member of a cascade starts anew
        standalone.append(running + sum(heads[each] for each in sorted(exits_needed(network.segments, [index]))))
    gflops = accumulate(map(sum, zip(blocks, heads, strict=True)))
    names = [segment.after for segment in network.segments]
    return NetworkCost(
        exits=tuple(map(ExitCost, names, blocks, heads, standalone, gflops, accumulate(own_parameters))),
        plain_gflops=standalone[-1],
        plain_parameters=_parameters(network.backbone),
        uncounted=dict(sorted(uncounted.items())),
    )


def _count(module: nn.Module, features: Tensor, operators: Collection[str] | None, uncounted: Counter[str]) -> float:
    """Counts the GFLOPs of a module on one input; adds the operators that fvcore cannot count to `uncounted`."""
    with warnings.catch_warnings():
        # The tracer's warnings do not concern the counts.
        warnings.simplefilter("ignore")
        analysis = FlopCountAnalysis(module, features)
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        try:
            flops = analysis.by_operator()
        except RuntimeError as error:
            raise MeasurementError(f"fvcore cannot trace the network: {error}") from error
        uncounted.update(analysis.unsupported_ops())
    return float(sum(count for name, count in flops.items() if operators is None or name in operators)) / 1e9


def _attention_flops(inputs: Sequence[Any], _outputs: Sequence[Any]) -> Counter[str]:
    """What fvcore counts of attention in single steps: the products of queries and keys, and of weights and values."""
    (*batch, queries, width), (*_, keys, value_width) = (inputs[at].type().sizes() for at in (0, 2))
    return Counter(matmul=math.prod(batch) * queries * keys * (width + value_width))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
