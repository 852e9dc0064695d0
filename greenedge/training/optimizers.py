"""torch's optimizers, without weight decay on norms and biases.

Each takes the network, the factor of the learning rate for its backbone and the one from block to block; options follow
`*`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn, optim

from greenedge.config.convert import FractionBelowOne, NonNegative, Positive


def adam(
    network: nn.Module,
    trunk_lr: float = 1.0,
    layer_decay: float = 1.0,
    *,
    lr: Positive = 0.001,
    weight_decay: NonNegative = 0.0,
) -> optim.Optimizer:
    """Builds Adam (Kingma and Ba 2015), whose weight decay is an L2 term of the loss."""
    return optim.Adam(_groups(network, weight_decay, _factors(network, trunk_lr, layer_decay)), lr=lr, fused=True)


def adamw(
    network: nn.Module,
    trunk_lr: float = 1.0,
    layer_decay: float = 1.0,
    *,
    lr: Positive = 0.001,
    weight_decay: NonNegative = 0.05,
) -> optim.Optimizer:
    """Builds AdamW (Loshchilov and Hutter 2019), whose weight decay is separate from the gradient."""
    return optim.AdamW(_groups(network, weight_decay, _factors(network, trunk_lr, layer_decay)), lr=lr, fused=True)


def sgd(
    network: nn.Module,
    trunk_lr: float = 1.0,
    layer_decay: float = 1.0,
    *,
    lr: Positive = 0.1,
    momentum: FractionBelowOne = 0.9,
    nesterov: bool = True,
    weight_decay: NonNegative = 5e-4,
) -> optim.Optimizer:
    """Builds stochastic gradient descent with momentum (0 for none, which needs `nesterov: false`)."""
    if nesterov and momentum == 0:
        raise ValueError("nesterov needs a momentum above 0; set nesterov: false")
    groups = _groups(network, weight_decay, _factors(network, trunk_lr, layer_decay))
    # Not fused: torch's fused SGD fails when some parameters take their first step later than others.
    return optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, foreach=True)


OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {"adam": adam, "adamw": adamw, "sgd": sgd}


def set_lr(optimizer: optim.Optimizer, rate: float) -> None:
    """Sets the learning rate, times each group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


def _factors(network: nn.Module, trunk_lr: float, layer_decay: float) -> dict[int, float]:
    """The id of each parameter of a block -> factor of its learning rate; all others have 1.

    Of n blocks, the i-th (from 0) has trunk_lr * layer_decay^(n - i), as in BEiT (Bao et al. 2022) and timm.
    """
    if trunk_lr == 1 and layer_decay == 1:
        return {}
    from greenedge.models.multi_exit import MultiExitNetwork  # imports torchvision, which takes a second

    blocks = network.blocks if isinstance(network, MultiExitNetwork) else []
    return {
        id(parameter): trunk_lr * layer_decay ** (len(blocks) - position)
        for position, (_, block) in enumerate(blocks)
        for parameter in block.parameters()
    }


def _groups(network: nn.Module, weight_decay: float, factors: Mapping[int, float]) -> list[dict[str, Any]]:
    """Groups the parameters: matrices and kernels decay, vectors (biases, norms) do not, as in timm.

    Those of one factor stand together; heads and classifier come first.
    """
    parts: dict[float, list[nn.Parameter]] = {1.0: []}
    for factor in factors.values():
        parts.setdefault(factor, [])
    for parameter in network.parameters():
        if parameter.requires_grad:
            parts[factors.get(id(parameter), 1.0)].append(parameter)
    return [
        {"params": [p for p in part if (p.ndim > 1) == decays], "weight_decay": decay, "lr_factor": factor}
        for factor, part in parts.items()
        if part
        for decays, decay in ((True, weight_decay), (False, 0.0))
    ]
