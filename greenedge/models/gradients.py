"""Gradients that are scaled on their way back."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor

# What of the early exits' gradient enters the backbone; `MultiExitNetwork.forward` says what each means.
HeadGradient = Literal["full", "equilibrium", "detached"]


def scale_gradient(features: Tensor, factor: float) -> Tensor:
    """The features as they are, whose gradient is multiplied by `factor` on its way back; 0 cuts it off."""
    if factor == 0:
        return features.detach()
    return features if factor == 1 else cast(Tensor, _ScaledGradient.apply(features, factor))


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None
