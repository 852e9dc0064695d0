"""AutoMix and SAMix within a step: against the step by hand, in parts, stopped and continued."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

from greenedge.augment.pairing import PairedBatch, automix, samix
from greenedge.data.loader import Batch
from greenedge.errors import CheckpointError, ConfigError, TrainingError
from greenedge.training.agreement import _checksum
from greenedge.training.finite import check_finite
from greenedge.training.learned_mixing import LearnedMixing
from greenedge.training.optimizers import sgd
from greenedge.training.state import TrainingState, restore_state, save_state
from greenedge.training.step import make_step
from tests.training.helpers import TRANSFORM, settings, tiny_network, tiny_state, train, train_split

PLAIN_SGD = partial(sgd, lr=0.05, momentum=0.0, nesterov=False, weight_decay=0.0)
MIXINGS = pytest.mark.parametrize("augment", [automix, samix])


def mixing_state(augment: Callable[..., PairedBatch], seed: int = 0, **options: Any) -> TrainingState:
    """A state of the tiny network that mixes; its augmentation has the same options."""
    state = tiny_state(seed, **options)
    torch.manual_seed(seed + 1)
    state.mixing = LearnedMixing(state.network, augment(images(2), torch.Generator()).settings)
    state.mixing.add_to(state.optimizer)
    return state


def images(count: int, seed: int = 0) -> Batch:
    pixels = torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Batch(pixels, torch.arange(count) % 3, 3)


def all_tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    assert state.mixing is not None
    return state.network.state_dict() | {f"mixing.{name}": each for name, each in state.mixing.state_dict().items()}


def differing(one: TrainingState, other: TrainingState) -> list[str]:
    left, right = all_tensors(one), all_tensors(other)
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


@MIXINGS
def test_images_are_mixed_by_the_masks_of_their_pairs(augment: Callable[..., PairedBatch]) -> None:
    network = tiny_network()
    pairs = augment(images(6), torch.Generator().manual_seed(3))
    mixing = LearnedMixing(network, pairs.settings)
    # The first block's map, of 7 x 7, is the last that is larger than the final one, of 3 x 3.
    assert mixing.block.compare.in_channels == (8 + 1 if augment is automix else 2 * 8)
    pixels = pairs.images / 255
    with torch.no_grad():
        features = copy.deepcopy(network).eval().backbone[0](TRANSFORM(pixels))
        mixed, masks = mixing.mix(pairs, TRANSFORM)
        for index, (first, second) in enumerate(pairs.pairs.tolist()):
            share = pairs.keep[index : index + 1]
            mask = mixing.block(features[first, None], features[second, None], share)
            torch.testing.assert_close(masks[index, None], mask)
            mode = {"mode": "nearest"} if augment is automix else {"mode": "bilinear", "align_corners": False}
            visible = F.interpolate(mask, (16, 16), **mode)
            expected = visible * pixels[first] + (1 - visible) * pixels[second]
            torch.testing.assert_close(mixed[index, None], expected)


@MIXINGS
@pytest.mark.parametrize("clean_weight", [0.0, 0.5])
def test_a_step_is_that_of_the_formulas(augment: Callable[..., PairedBatch], clean_weight: float) -> None:
    options = {"clean_weight": clean_weight, "mask_margin": 0.0, "mask_weight": 0.3, "block_lr": 2.0, "momentum": 0.9}
    drawn = partial(augment, **options)
    state = mixing_state(drawn, optimizer=PLAIN_SGD, dropout=0.0)
    state.epoch = 1
    setting = settings(epochs=4, augment=(drawn,))
    before, mixing_before = copy.deepcopy(state.network).train(), copy.deepcopy(state.mixing)
    assert mixing_before is not None
    pairs = augmented(state, setting, images(10))
    state.network.train()
    assert make_step(state, state.network, images(10), setting, rate=0.05)

    mixed, mask = mixing_before.mix(pairs, TRANSFORM)
    frozen = mixing_before.average.module
    generation = F.cross_entropy(frozen(TRANSFORM(mixed))[-1], pairs.targets)
    held = (mask.mean(dim=(1, 2, 3)) - pairs.keep).abs().mean()
    if augment is samix:
        held = held - mask.var(dim=(1, 2, 3), correction=0).mean()
    (generation + 0.3 * 3 / 4 * held).backward()  # one of four epochs is done
    for name, parameter in mixing_before.block.named_parameters():
        expected = parameter - 2.0 * 0.05 * parameter.grad
        torch.testing.assert_close(dict(state.mixing.block.named_parameters())[name], expected)

    losses = [F.cross_entropy(each, pairs.targets) for each in before(TRANSFORM(mixed.detach()))]
    total = sum(losses)
    if clean_weight:
        clean = before(TRANSFORM(pairs.images))
        total = total + clean_weight * sum(F.cross_entropy(each, pairs.clean_targets) for each in clean)
    total.backward()
    assert state.running_sums[0].item() == pytest.approx(10 * sum(losses).item(), rel=1e-5)
    for name, parameter in before.named_parameters():
        expected = parameter - 0.05 * parameter.grad
        torch.testing.assert_close(dict(state.network.named_parameters())[name], expected)
        first = dict(state.mixing.average.module.named_parameters())[name]
        torch.testing.assert_close(first, expected)  # the first update takes the weights as they are


def augmented(state: TrainingState, setting: Any, batch: Batch) -> PairedBatch:
    from greenedge.training.step import _augmented

    pairs = _augmented(state, batch, setting)
    assert isinstance(pairs, PairedBatch)
    return pairs


@MIXINGS
def test_parts_mix_the_same_pairs(prepared: Path, augment: Callable[..., PairedBatch]) -> None:
    def without_norms() -> TrainingState:
        state = mixing_state(augment, dropout=0.0)
        for network in (state.network, state.mixing.average.module):  # type: ignore[union-attr]
            for block in network.backbone[:2]:
                block[1] = nn.Identity()
        return state

    whole, divided = without_norms(), without_norms()
    common = {"augment": (augment,), "batch_size": 12}
    (of_whole,) = train(whole, train_split(prepared), settings(**common))
    (of_divided,) = train(divided, train_split(prepared), settings(**common, accumulate=3))
    assert of_divided.loss == pytest.approx(of_whole.loss, rel=1e-5)
    left, right = all_tensors(whole), all_tensors(divided)
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


@MIXINGS
@pytest.mark.parametrize("stop_after", [3, 4])  # at an epoch's end, and within one
def test_a_stopped_training_goes_on_exactly(
    prepared: Path, tmp_path: Path, augment: Callable[..., PairedBatch], stop_after: int
) -> None:
    split, setting = train_split(prepared), settings(epochs=3, augment=(augment,))
    unbroken, first = mixing_state(augment), mixing_state(augment)
    train(unbroken, split, setting)
    train(first, split, setting, stop_after)
    save_state(tmp_path / "state.pt", first)
    torch.rand(100)
    second = mixing_state(augment, seed=9)
    assert differing(first, second)
    restore_state(tmp_path / "state.pt", second, steps_per_epoch=3)
    assert differing(first, second) == []
    train(second, split, setting)
    assert differing(unbroken, second) == []
    assert "mixing.block.compare.weight" in differing(unbroken, first)  # the block is trained to the end


def test_a_state_without_mixing_is_not_continued_with_it(tmp_path: Path) -> None:
    save_state(tmp_path / "plain.pt", tiny_state())
    with pytest.raises(CheckpointError, match="only one of the two learns to mix its images"):
        restore_state(tmp_path / "plain.pt", mixing_state(automix), steps_per_epoch=3)
    save_state(tmp_path / "mixing.pt", mixing_state(automix))
    with pytest.raises(CheckpointError, match="only one of the two learns to mix its images"):
        restore_state(tmp_path / "mixing.pt", tiny_state(), steps_per_epoch=3)
    with pytest.raises(CheckpointError, match="belongs to another network"):
        restore_state(tmp_path / "mixing.pt", mixing_state(samix), steps_per_epoch=3)


def test_the_network_that_looks_stays_in_evaluation_and_learns_nothing_within_a_step() -> None:
    state = mixing_state(automix)
    mixing = state.mixing
    assert mixing is not None
    mixing.train()
    assert not any(module.training for module in mixing.average.modules())
    assert mixing.block.training
    pairs = automix(images(6), torch.Generator().manual_seed(1))
    mixed, loss = mixing(pairs, TRANSFORM, F.cross_entropy, 1.0)
    assert not mixed.images.requires_grad
    loss.backward()
    assert all(each.grad is None for each in [*state.network.parameters(), *mixing.average.parameters()])
    assert all(each.grad is not None for each in mixing.block.parameters())


@MIXINGS
def test_masks_come_to_follow_their_shares_and_mixtures_to_show_both_labels(
    augment: Callable[..., PairedBatch],
) -> None:
    """Images of one bright half each, whose place is the class: what a network that knows them needs to see."""
    torch.manual_seed(0)
    network = tiny_network(dropout=0.0)
    halves = torch.zeros(60, 3, 16, 16)
    halves[:20, :, :8], halves[20:40, :, 8:], halves[40:, :, :, :8] = 1, 1, 1
    batch = Batch(halves, torch.arange(60) // 20, 3)
    learning = optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        learning.zero_grad()
        F.cross_entropy(network.train()(TRANSFORM(halves))[-1], batch.targets).backward()
        learning.step()

    mixing = LearnedMixing(network, augment(batch, torch.Generator(), mask_weight=1.0, mask_margin=0.0).settings)
    optimizer = optim.Adam(mixing.block.parameters(), lr=0.03)
    fixed = augment(batch, torch.Generator().manual_seed(99))
    before = mixing(fixed, TRANSFORM, F.cross_entropy, 0.0)[1].item()
    for step in range(300):
        optimizer.zero_grad()
        mixing(augment(batch, torch.Generator().manual_seed(step)), TRANSFORM, F.cross_entropy, 1.0)[1].backward()
        optimizer.step()
    after = mixing(fixed, TRANSFORM, F.cross_entropy, 0.0)[1].item()
    _, mask = mixing.mix(fixed, TRANSFORM)
    pair = torch.stack([mask.detach().mean(dim=(1, 2, 3)), fixed.keep])
    assert torch.corrcoef(pair)[0, 1] > (0.9 if augment is automix else 0.65)
    certain = -torch.special.xlogy(fixed.targets, fixed.targets).sum(1).mean().item()  # nothing can be below
    assert certain < after < certain + 0.5 * (before - certain)


def test_what_is_no_longer_finite_and_what_differs_between_processes_is_seen() -> None:
    state = mixing_state(automix)
    assert state.mixing is not None
    before = _checksum(state)
    with torch.no_grad():
        state.mixing.block.compare.bias[0] += 1
    assert not torch.equal(before, _checksum(state))
    with torch.no_grad():
        state.mixing.block.compare.bias[0] = float("nan")
    with pytest.raises(TrainingError, match=r"the learned mixing's block.compare.bias is no longer finite"):
        check_finite(state)


def test_the_block_is_clipped_by_itself_and_weighs_classes_as_the_network_does() -> None:
    weights = torch.tensor([0.0, 0.5, 4.0])
    drawn = partial(automix, mask_weight=0.0)
    state = mixing_state(drawn, optimizer=PLAIN_SGD, dropout=0.0)
    before = copy.deepcopy(state.mixing)
    assert before is not None
    setting = settings(augment=(drawn,), class_weights=weights, gradient_clip_norm=1e-4)
    pairs = augmented(state, setting, images(10))
    make_step(state, state.network.train(), images(10), setting, rate=1.0)

    mixed, _ = before.mix(pairs, TRANSFORM)
    losses = F.cross_entropy(before.average.module(TRANSFORM(mixed))[-1], pairs.targets, reduction="none")
    ((pairs.targets @ weights) * losses).mean().backward()
    norm = torch.cat([each.grad.flatten() for each in before.block.parameters()]).norm()
    assert norm > 2e-4
    for name, parameter in before.block.named_parameters():
        expected = parameter - 1e-4 / (norm + 1e-6) * parameter.grad  # as torch clips
        torch.testing.assert_close(dict(state.mixing.block.named_parameters())[name], expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"after": "7"}, "there is no block '7'"),
        ({"after": "1"}, "the features after '1' are 8 x 1 x 1, and a mask needs a map of at least 2 x 2"),
    ],
)
def test_blocks_without_a_map_are_refused(options: dict[str, Any], words: str) -> None:
    network = tiny_network()
    network.segments[1].shapes = (network.segments[1].shapes[0], (8, 1, 1))
    with pytest.raises(ConfigError, match=words):
        LearnedMixing(network, automix(images(2), torch.Generator(), **options).settings)


def test_networks_without_maps_are_refused() -> None:
    network = tiny_network()
    for segment in network.segments:
        segment.shapes = (segment.shapes[0], (8, 17, 1))  # tokens
    with pytest.raises(ConfigError, match=r"no block of this network gives a map of features .*; leave samix out"):
        LearnedMixing(network, samix(images(2), torch.Generator()).settings)
