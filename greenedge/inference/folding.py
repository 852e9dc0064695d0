"""Batch norms of a network in evaluation mode, folded into the convolutions before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork

# Convolutions that use their weights as they are: torch's, and timm's with padding of its own.
_PLAIN = ("Conv2d", "Conv2dSame")


def fold_batch_norms(network: MultiExitNetwork) -> int:
    """Folds, in place, each batch norm that reads one convolution's output, and is all that reads it.

    A convolution followed by y = (x - mean) / sqrt(var + eps) * weight + bias is a convolution with other weights and
    a bias. Which norm reads which convolution, and what else reads the same tensor or the same weights, is seen on one
    blank image, operator by operator, not guessed from names. What a norm does besides (timm's carry their activation)
    stays.

    Args:
        network: with constant running statistics, and not to be trained any more.

    Returns:
        how many were folded.
    """
    roots = [network, *network.segments]  # segments hold modules, such as rows of blocks, that the network does not
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
    """Each batch norm that is the only reader of a convolution's output, where both ran once and have no hooks."""
    made_by: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    runs: Counter[nn.Module] = Counter()
    pairs: dict[nn.BatchNorm2d, tuple[nn.Conv2d, Tensor]] = {}

    def after_convolution(conv: nn.Module, _: object, output: Tensor) -> None:
        runs[conv] += 1
        if isinstance(conv, nn.Conv2d) and type(conv).__name__ in _PLAIN and conv not in hooked:
            made_by[id(output)] = conv, output  # kept, so that no two tensors share an id

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        runs[norm] += 1
        found = made_by.get(id(inputs[0]))
        known = isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm not in hooked
        if found is not None and known:
            pairs[cast(nn.BatchNorm2d, norm)] = found

    modules = {module for root in roots for module in root.modules()}
    # Hooks may change weights on the way (weight norm does), or look at what the norm gives.
    hooked = {module for module in modules if module._forward_hooks or module._forward_pre_hooks}
    handles = []
    for module in modules:
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after_convolution))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        parameter = next(network.parameters())
        side = network.image_size
        blank = torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device)
        with evaluation_mode(*roots), torch.no_grad(), _Readers() as readers:
            given = {id(tensor) for tensor in network(blank)}
    finally:
        for handle in handles:
            handle.remove()
    return {
        norm: conv
        for norm, (conv, output) in pairs.items()
        if runs[norm] == runs[conv] == 1
        and readers.counts[id(output)] == readers.counts[id(conv.weight)] == 1
        and id(output) not in given
    }


class _Readers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how many operators read each tensor while it is active.

    Attributes:
        counts: of each tensor, by its id.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[int] = Counter()
        self._kept: list[Tensor] = []  # so that no two tensors share an id

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts the tensors among the operator's arguments, and runs it."""
        read = {id(each): each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        self.counts.update(read.keys())
        self._kept += read.values()
        return func(*args, **(kwargs or {}))


def _without_norm(norm: nn.Module) -> nn.Module:
    """What remains of a norm whose arithmetic is done: nothing, or timm's activation."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()
