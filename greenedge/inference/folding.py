"""Batch norms of a network in evaluation mode, folded into the convolutions before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork

# Convolutions that use their weights as they are: torch's, and timm's with padding of its own.
_PLAIN = ("Conv2d", "Conv2dSame")


def fold_batch_norms(network: MultiExitNetwork) -> int:
    """Folds, in place, each batch norm that reads nothing but one convolution's output.

    A convolution followed by y = (x - mean) / sqrt(var + eps) * weight + bias is a convolution with other weights and
    a bias. Which norm reads which convolution is seen on one blank image, not guessed from names. What a norm does
    besides (timm's carry their activation) stays.

    Args:
        network: with constant running statistics, and not to be trained any more.

    Returns:
        how many were folded.
    """
    roots = [network, *(block for _, block in network.blocks)]
    pairs = _norms_after_convolutions(network, roots)
    for norm, conv in pairs.items():
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias)
        conv.weight, conv.bias = weight, bias
    for root in roots:
        for parent in root.modules():
            for name, child in parent.named_children():
                if child in pairs:
                    setattr(parent, name, _without_norm(child))
    return len(pairs)


def _norms_after_convolutions(network: MultiExitNetwork, roots: Iterable[nn.Module]) -> dict[nn.BatchNorm2d, nn.Conv2d]:
    """Each batch norm whose input is the very tensor, unchanged, that a convolution gave, where both ran once."""
    made_by: dict[int, tuple[nn.Conv2d, int]] = {}
    runs: Counter[nn.Module] = Counter()
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    kept: list[Tensor] = []  # so that no two tensors share an id

    def after_convolution(conv: nn.Module, _: object, output: Tensor) -> None:
        runs[conv] += 1
        if isinstance(conv, nn.Conv2d) and type(conv).__name__ in _PLAIN:
            made_by[id(output)] = conv, output._version
            kept.append(output)

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        runs[norm] += 1
        conv, version = made_by.pop(id(inputs[0]), (None, 0))
        unchanged = conv is not None and inputs[0]._version == version  # by an activation in place
        if conv is not None and unchanged and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            pairs[norm] = conv

    handles = []
    for module in {module for root in roots for module in root.modules()}:
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after_convolution))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        parameter = next(network.parameters())
        side = network.image_size
        blank = torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device)
        with evaluation_mode(*roots), torch.no_grad():
            network(blank)
    finally:
        for handle in handles:
            handle.remove()
    return {norm: conv for norm, conv in pairs.items() if runs[norm] == runs[conv] == 1}


def _without_norm(norm: nn.Module) -> nn.Module:
    """What remains of a norm whose arithmetic is done: nothing, or timm's activation."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()
