"""Optimizers: torch's own, with norms and biases kept free of weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn, optim

from greenedge.config.convert import Fraction, NonNegative, Positive


def adam(network: nn.Module, *, lr: Positive = 0.001, weight_decay: NonNegative = 0.0) -> optim.Optimizer:
    """Adam (Kingma and Ba 2015); the decay is an L2 term of the loss."""
    return optim.Adam(_groups(network, weight_decay), lr=lr, fused=True)


def adamw(network: nn.Module, *, lr: Positive = 0.001, weight_decay: NonNegative = 0.05) -> optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019); the decay is apart from the gradient."""
    return optim.AdamW(_groups(network, weight_decay), lr=lr, fused=True)


def sgd(
    network: nn.Module,
    *,
    lr: Positive = 0.1,
    momentum: Fraction = 0.9,
    nesterov: bool = True,
    weight_decay: NonNegative = 5e-4,
) -> optim.Optimizer:
    """Stochastic gradient descent with momentum (0 for none; then `nesterov` must be false)."""
    if nesterov and momentum == 0:
        raise ValueError("nesterov needs a momentum above 0; set nesterov: false")
    return optim.SGD(_groups(network, weight_decay), lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {"adam": adam, "adamw": adamw, "sgd": sgd}


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels decay; vectors (biases, norms) do not, as in timm."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
