"""AutoMix and SAMix: the pairs that are drawn, and the Mix Block against the papers' formulas written out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from greenedge.augment.mix_block import MixBlock, MixKind, mask_loss
from greenedge.augment.pairing import PairedBatch, automix, samix
from greenedge.data.loader import Batch
from tests.augment.test_mixing import one_class_each, seeded

MIXINGS = pytest.mark.parametrize("augment", [automix, samix])
KINDS = pytest.mark.parametrize("kind", ["automix", "samix"])


@MIXINGS
def test_pairs_are_drawn_and_nothing_is_mixed_yet(augment: Callable[..., PairedBatch]) -> None:
    batch = one_class_each(32)
    torch.manual_seed(1)
    pairs = augment(batch, seeded(3))
    torch.manual_seed(2)  # torch's own state must not matter
    again, other = augment(batch, seeded(3)), augment(batch, seeded(4))
    assert torch.equal(pairs.images, batch.images)
    first, second = pairs.pairs.unbind(1)
    assert first.tolist() == list(range(32))
    assert sorted(second.tolist()) == list(range(32))
    for index in range(32):
        expected = torch.zeros(32)
        expected[index] += pairs.keep[index]
        expected[second[index]] += 1 - pairs.keep[index]
        torch.testing.assert_close(pairs.targets[index], expected)
    assert torch.equal(pairs.targets, again.targets)
    assert not torch.equal(pairs.targets, other.targets)


def test_shares_have_the_beta_distribution_of_alpha() -> None:
    count = 4_000
    batch = Batch(torch.zeros(count, 3, 1, 1), torch.zeros(count, dtype=torch.int64), 1)
    for alpha in (0.5, 2.0):
        keep = automix(batch, seeded(5), alpha=alpha).keep
        assert keep.mean().item() == pytest.approx(0.5, abs=0.02)
        assert keep.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)  # of Beta(a, a)


def test_some_pairs_keep_their_partners_and_the_clean_images_their_labels() -> None:
    batch = one_class_each(12)
    pairs = automix(batch, seeded(6))
    some = pairs.select(slice(4, 9))
    assert torch.equal(some.pairs, pairs.pairs[4:9])
    assert torch.equal(some.targets, pairs.targets[4:9])
    assert torch.equal(some.keep, pairs.keep[4:9])
    clean = some.clean()
    assert torch.equal(clean.images, batch.images[4:9])
    assert clean.targets.tolist() == [4, 5, 6, 7, 8]


def by_hand(block: MixBlock, first: Tensor, second: Tensor, share: float) -> np.ndarray:
    """The mask of one pair, position by position; features are (C, h, w)."""
    weights = {name: each.detach().double().numpy() for name, each in block.named_parameters()}
    channels, height, width = first.shape
    ours, theirs = (each.double().numpy().reshape(channels, -1) for each in (first, second))
    positions = height * width
    if block.kind == "automix":
        a = [np.append(ours[:, p], share) for p in range(positions)]
        b = [np.append(theirs[:, p], 1 - share) for p in range(positions)]
        queries, keys, content = a, b, a
    else:
        strength = float(weights["strength"])
        content = [(1 + strength * share) * ours[:, p] for p in range(positions)]
        other = [(1 + strength * (1 - share)) * theirs[:, p] for p in range(positions)]
        queries = [np.concatenate([content[p], other[p]]) for p in range(positions)]
        keys = [np.concatenate([other[p], content[p]]) for p in range(positions)]
    matrix, bias = weights["compare.weight"][:, :, 0, 0], weights["compare.bias"]
    queries, keys = [[matrix @ each + bias for each in group] for group in (queries, keys)]
    if block.kind == "automix":
        values = [float(weights["weigh.weight"][0, :, 0, 0] @ each + weights["weigh.bias"][0]) for each in content]
    else:
        layer = weights["weigh.0.weight"][:, :, 0, 0]
        hidden = [np.maximum(layer @ each + weights["weigh.0.bias"], 0) for each in content]
        values = [float(weights["weigh.2.weight"][0, :, 0, 0] @ each + weights["weigh.2.bias"][0]) for each in hidden]

    mask = np.zeros(positions)
    for p in range(positions):
        scores = np.array([queries[p] @ keys[q] / math.sqrt(len(bias)) for q in range(positions)])
        attention = np.exp(scores - scores.max())
        mask[p] = (attention / attention.sum()) @ np.array(values)
    return (1 / (1 + np.exp(-mask))).reshape(height, width)


@KINDS
def test_the_mask_is_that_of_the_formulas(kind: MixKind) -> None:
    torch.manual_seed(0)
    block = MixBlock(6, kind)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter))
    first, second = torch.randn(2, 3, 6, 2, 3)
    keep = torch.tensor([0.1, 0.5, 0.8])
    mask = block(first, second, keep)
    assert mask.shape == (3, 1, 2, 3)
    for index in range(3):
        expected = by_hand(block, first[index], second[index], float(keep[index]))
        np.testing.assert_allclose(mask[index, 0].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@KINDS
def test_a_mask_depends_on_its_own_pair_alone(kind: MixKind) -> None:
    torch.manual_seed(0)
    block, keep = MixBlock(4, kind), torch.rand(5)
    first, second = torch.randn(2, 5, 4, 3, 3)
    together = block(first, second, keep)
    torch.testing.assert_close(block(first[3:4], second[3:4], keep[3:4]), together[3:4])


def test_the_masks_of_automix_begin_near_their_shares() -> None:
    torch.manual_seed(0)
    block, keep = MixBlock(64, "automix"), torch.linspace(0.1, 0.9, 9)
    first, second = torch.randn(2, 9, 64, 4, 4).relu()
    mask = block(first, second, keep)
    assert (mask.mean(dim=(1, 2, 3)) - keep).abs().max() < 0.2
    assert (mask.mean(dim=(1, 2, 3)).diff() > 0).all()


def test_the_loss_of_masks_by_hand() -> None:
    mask = torch.tensor([[0.2, 0.4], [1.0, 0.0]]).view(2, 1, 1, 2)  # means 0.3 and 0.5, variances 0.01 and 0.25
    keep = torch.tensor([0.6, 0.45])
    assert mask_loss(mask, keep, 0.1, "automix").item() == pytest.approx((0.3 - 0.1) / 2)
    assert mask_loss(mask, keep, 0.0, "automix").item() == pytest.approx((0.3 + 0.05) / 2)
    assert mask_loss(mask, keep, 0.1, "samix").item() == pytest.approx((0.3 - 0.1) / 2 - 0.13)


def test_masks_are_enlarged_by_squares_or_smoothly() -> None:
    mask = torch.tensor([[0.0, 1.0]]).view(1, 1, 1, 2)
    squares = MixBlock(2, "automix").enlarged(mask, (2, 4))
    assert squares[0, 0].tolist() == [[0, 0, 1, 1]] * 2
    smooth = MixBlock(2, "samix").enlarged(mask, (1, 4))
    assert smooth[0, 0].tolist() == [[0, 0.25, 0.75, 1]]
    masks = torch.rand(3, 1, 4, 5)
    expected = F.interpolate(masks, (16, 15), mode="bilinear", align_corners=False)
    torch.testing.assert_close(MixBlock(2, "samix").enlarged(masks, (16, 15)), expected)
