"""How hard each exit's loss pulls at each block, and whether an early exit and the final one pull the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork


@dataclass(frozen=True, eq=False)
class ExitGradients:
    """Gradients of the exits' losses by the parameters of each block; NaN where an exit does not reach a block.

    Attributes:
        norms: float64 (E, B), Euclidean.
        cosines: float64 (E, B), with the final exit's gradient.
    """

    norms: Tensor
    cosines: Tensor

    def __repr__(self) -> str:
        exits, blocks = self.norms.shape
        return f"ExitGradients({exits} exits, {blocks} blocks)"


def exit_gradients(network: MultiExitNetwork, images: Tensor, targets: Tensor) -> ExitGradients:
    """Gradients of each exit's mean cross entropy on a batch, by the parameters of each block.

    In evaluation mode, so that neither dropout nor the batch's own statistics enter, and the network stays as it is.

    Args:
        network: its parameters need not require gradients.
        images: (N, 3, H, W), normalised.
        targets: int64 (N,).
    """
    blocks = [tuple(block.parameters()) for _, block in network.blocks]
    parameters = [parameter for block in blocks for parameter in block]
    required = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_()
        with evaluation_mode(network), torch.enable_grad():
            losses = [F.cross_entropy(logits.float(), targets) for logits in network(images)]
            flat = [torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in losses]
    finally:
        for parameter, own in zip(parameters, required, strict=True):
            parameter.requires_grad = own

    found = [_by_block(gradients, [len(block) for block in blocks]) for gradients in flat]
    norms = torch.tensor([[_norm(each) for each in own] for own in found], dtype=torch.float64)
    cosines = [[_cosine(each, final) for each, final in zip(own, found[-1], strict=True)] for own in found]
    return ExitGradients(norms, torch.tensor(cosines, dtype=torch.float64))


def mean_gradients(batches: Sequence[ExitGradients]) -> ExitGradients:
    """The mean over batches."""
    norms = torch.stack([each.norms for each in batches]).mean(dim=0)
    return ExitGradients(norms, torch.stack([each.cosines for each in batches]).mean(dim=0))


def _by_block(gradients: Sequence[Tensor | None], counts: Sequence[int]) -> list[Tensor | None]:
    """Each block's as one vector; None where the exit does not reach it, or it has no parameters."""
    found: list[Tensor | None] = []
    start = 0
    for count in counts:
        own = [each.flatten().double() for each in gradients[start : start + count] if each is not None]
        found.append(torch.cat(own) if own and len(own) == count else None)
        start += count
    return found


def _norm(gradient: Tensor | None) -> float:
    return float("nan") if gradient is None else float(gradient.norm())


def _cosine(gradient: Tensor | None, other: Tensor | None) -> float:
    if gradient is None or other is None:
        return float("nan")
    return float(F.cosine_similarity(gradient, other, dim=0))
