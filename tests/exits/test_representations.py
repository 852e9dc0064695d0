from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from greenedge.exits.representations import ChannelSums, SimilaritySums, inner_products, unbiased_hsic


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed=9))[0]


def similarity(first: Tensor, second: Tensor, batch: int) -> float:
    sums = SimilaritySums(2, 1)
    for start in range(0, len(first), batch):
        sums.add([[first[start : start + batch]], [second[start : start + batch]]])
    return float(sums.similarities()[0, 1, 0])


def test_unbiased_hsic_is_the_mean_over_all_distinct_images() -> None:
    """Song et al. 2012: a U-statistic of order 4, here summed as it is defined."""
    first, second = inner_products(normal(6, 3)), inner_products(normal(6, 2, seed=1))
    terms = [first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q]) for i, j, q, r in permutations(range(6), 4)]
    assert float(unbiased_hsic(first, second)) == pytest.approx(float(np.mean(terms)))


def test_similarity_knows_no_rotation_scale_or_shift() -> None:
    features = normal(200, 8)
    other = 3.5 * features @ rotation(8) + normal(8, seed=3)
    assert similarity(features, other, 200) == pytest.approx(1)
    assert similarity(features, other, 50) == pytest.approx(1)


def test_similarity_of_unrelated_features_is_about_0_however_small_the_batches() -> None:
    found = [similarity(normal(2_000, 300), normal(2_000, 300, seed=1), batch) for batch in (20, 200, 2_000)]
    assert np.abs(found).max() < 0.05  # the biased estimate is above 0.9 in batches of 20


def test_similarity_of_a_mixture_is_that_of_the_populations() -> None:
    # Of y = (x, z) with independent x of k and z of m equal directions: CKA(x, y) = k / sqrt(k (k + m)).
    own, other = normal(4_000, 6), normal(4_000, 12, seed=1)
    found = similarity(own, torch.cat([own, other], dim=1), 100)
    assert found == pytest.approx(6 / (6 * 18) ** 0.5, abs=0.02)


def test_effective_rank_counts_directions() -> None:
    base = rotation(3)
    flat = normal(5_000, 3) @ base @ normal(3, 10, seed=2)
    sums = ChannelSums(10, 10)
    sums.add(flat[:, :, None, None] + 4, flat[:, :, None, None])
    values = np.linalg.svd((flat - flat.mean(dim=0)).numpy(), compute_uv=False)[:3]
    shares = values / values.sum()
    assert sums.effective_rank() == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)

    even = ChannelSums(4, 1)
    square = torch.cat([torch.eye(4), -torch.eye(4)])[:, :, None, None]
    even.add(square, square[:, :1])
    assert even.effective_rank() == pytest.approx(4)
    constant = ChannelSums(4, 1)
    constant.add(torch.zeros(5, 4, 1, 1), torch.zeros(5, 1, 1, 1))
    assert constant.effective_rank() == 0


def test_stitching_finds_the_map_between_features() -> None:
    features = normal(30, 5, 4, 3).float()
    features[:, 2] = 0  # a channel that is dead
    weight, bias = normal(7, 5, seed=1).float(), normal(7, seed=2).float()
    reference = torch.einsum("oc,nchw->nohw", weight, features) + bias[:, None, None]
    sums = ChannelSums(5, 7)
    for start in range(0, 30, 10):
        sums.add(features[start : start + 10], reference[start : start + 10])
    stitch = sums.stitch()
    assert stitch is not None
    found, offset = stitch
    alive = [0, 1, 3, 4]
    torch.testing.assert_close(found[:, alive], weight[:, alive], rtol=0, atol=1e-4)
    torch.testing.assert_close(offset, bias, rtol=0, atol=1e-4)
    assert found[:, 2].abs().max() < 1e-6

    few = ChannelSums(5, 7)
    few.add(features[:1, :, :1], reference[:1, :, :1])
    assert few.stitch() is None
