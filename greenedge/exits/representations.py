"""How alike two networks' features are, and how many directions they take: linear CKA, effective rank, stitching."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_SMALLEST_SHARE = 1e-12  # of the largest singular value; smaller ones are rounding
_RIDGE = 1e-6  # of the mean variance, so that channels that are always 0 leave the equations solvable


def unbiased_hsic(first: Tensor, second: Tensor) -> Tensor:
    """The unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al. 2012, equation 5).

    Args:
        first: (N, N), inner products of N images' features, N at least 4; leading dimensions are kept.
        second: (N, N), of the same images' other features.

    Returns:
        a number for each of the leading dimensions.
    """
    count = first.shape[-1]
    own = torch.eye(count, dtype=torch.bool, device=first.device)
    first, second = first.masked_fill(own, 0), second.masked_fill(own, 0)
    trace = (first * second).sum(dim=(-2, -1))
    sums = first.sum(dim=(-2, -1)) * second.sum(dim=(-2, -1)) / ((count - 1) * (count - 2))
    rows = (first.sum(dim=-1) * second.sum(dim=-1)).sum(dim=-1) * 2 / (count - 2)
    return (trace + sums - rows) / (count * (count - 3))


def inner_products(features: Tensor) -> Tensor:
    """float64 (N, N): of N images' features (N, ...)."""
    flat = features.flatten(1).double()
    return flat @ flat.T


class SimilaritySums:
    """Linear CKA of all pairs of R networks after each of B blocks, from batches (Nguyen et al. 2021, equation 3).

    The estimate does not depend on the batches' size, as HSIC is estimated without bias in each.

    Args:
        networks: R.
        blocks: B.
    """

    def __init__(self, networks: int, blocks: int) -> None:
        self._sums = torch.zeros(networks, networks, blocks, dtype=torch.float64)

    def add(self, features: Sequence[Sequence[Tensor]]) -> None:
        """Adds a batch of at least 4 images.

        Args:
            features: of each network after each block, (N, ...).
        """
        for block in range(self._sums.shape[2]):
            products = torch.stack([inner_products(own[block]) for own in features])
            self._sums[:, :, block] += unbiased_hsic(products[:, None], products[None]).cpu()

    def similarities(self) -> Tensor:
        """float64 (R, R, B): 1 for features that differ by a rotation and a scale, about 0 for unrelated ones."""
        own = self._sums.diagonal().T.clamp_min(0).sqrt()
        return self._sums / (own[:, None] * own[None])


class ChannelSums:
    """Sums over images and places of the features of one network, and their products with those of a reference.

    Features (N, C, H, W) are taken as N * H * W vectors of C channels.

    Args:
        channels: C.
        reference_channels: of the reference.
    """

    def __init__(self, channels: int, reference_channels: int) -> None:
        self.count = 0
        self.products = torch.zeros(channels + 1, channels + 1, dtype=torch.float64)  # the last channel is 1
        self.across = torch.zeros(channels + 1, reference_channels, dtype=torch.float64)

    def add(self, features: Tensor, reference: Tensor) -> None:
        """Adds a batch: features (N, C, H, W) and those of the reference at the same places."""
        own, other = _vectors(features), _vectors(reference)
        own = torch.cat([own, torch.ones_like(own[:, :1])], dim=1)
        self.count += len(own)
        self.products += (own.T @ own).cpu()
        self.across += (own.T @ other).cpu()

    def effective_rank(self) -> float:
        """Exp of the entropy of the singular values of the centred features, which sum to 1 (Roy and Vetterli 2007).

        From 1, where all vectors lie on a line, to C, where they go as far in every direction; 0 where all are equal.
        """
        mean = self.products[-1, :-1] / self.count
        covariance = self.products[:-1, :-1] / self.count - torch.outer(mean, mean)
        values = torch.linalg.eigvalsh(covariance).clamp_min(0).sqrt()
        values = values[values > _SMALLEST_SHARE**0.5 * values.max()]
        if len(values) == 0:
            return 0.0
        shares = values / values.sum()
        return float(torch.exp(-(shares * shares.log()).sum()))

    def stitch(self) -> tuple[Tensor, Tensor] | None:
        """The convolution of 1 x 1 that best makes the reference's features of these, by least squares.

        As "direct matching" in Csiszarik et al. 2021.

        Returns:
            float32 weight (reference's C, C) and bias (reference's C,); None where there are no more vectors than
            channels, which any convolution of many would fit.
        """
        size = len(self.products) - 1
        if self.count <= size:
            return None
        ridge = _RIDGE * self.products.diagonal()[:-1].mean().clamp_min(torch.finfo(torch.float64).tiny)
        penalty = torch.diag(torch.cat([ridge.expand(size), torch.zeros(1, dtype=torch.float64)]))
        solution = torch.linalg.solve(self.products + penalty, self.across).float()
        return solution[:-1].T.contiguous(), solution[-1]


def _vectors(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2).flatten(0, 1).double()
