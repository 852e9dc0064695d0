"""Freezing, staged unfreezing, a slower backbone, and training the backbone first."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from greenedge.config import ExitConfig, ModelConfig
from greenedge.models.multi_exit import build_network
from greenedge.training.optimizers import OPTIMIZERS, adamw, set_lr, sgd
from greenedge.training.state import restore_state, save_state
from tests.training.helpers import differing, settings, tiny_network, tiny_state, train, train_split


def values(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state_dict.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_frozen_blocks_do_not_change_until_their_epochs_are_over(prepared: Path) -> None:
    state = tiny_state(optimizer=partial(adamw, lr=0.01))
    split = train_split(prepared)
    setting = partial(settings, frozen=((2, 1), (1, 2)))  # both blocks in the first epoch, the first in the second too
    start = values(state.network.state_dict())
    train(state, split, setting(epochs=1))
    first = values(state.network.state_dict())
    moved = changed(start, first)
    assert not any(name.startswith(("backbone.0.", "backbone.1.")) for name in moved)  # batch norms included
    assert {"backbone.2.weight", "heads.0.2.weight"} <= moved
    train(state, split, setting(epochs=2))
    second = values(state.network.state_dict())
    assert not any(name.startswith("backbone.0.") for name in changed(first, second))
    assert {"backbone.1.0.weight", "backbone.1.1.running_mean"} <= changed(first, second)
    train(state, split, setting(epochs=3))
    assert {"backbone.0.0.weight", "backbone.0.1.running_mean"} <= changed(second, state.network.state_dict())


def test_resumed_training_with_frozen_blocks_equals_an_uninterrupted_one(prepared: Path, tmp_path: Path) -> None:
    split = train_split(prepared)
    setting = settings(epochs=3, frozen=((2, 1), (1, 2)), trunk_only_epochs=2)
    slow = partial(sgd, trunk_lr=0.1)
    unbroken, first, second = tiny_state(optimizer=slow), tiny_state(optimizer=slow), tiny_state(seed=9, optimizer=slow)
    train(unbroken, split, setting)
    train(first, split, setting, stop_after=4)
    save_state(tmp_path / "state.pt", first)
    restore_state(tmp_path / "state.pt", second, steps_per_epoch=3)
    train(second, split, setting)
    assert differing(unbroken, second) == []


def test_trunk_only_epochs_do_not_train_early_exits(prepared: Path) -> None:
    state = tiny_state()  # plain SGD without decay on biases; heads get no gradient
    weights = lambda: state.network.heads[0][2].bias.detach().clone()  # type: ignore[index] # noqa: E731
    before = weights()
    train(state, train_split(prepared), settings(epochs=2, trunk_only_epochs=2))
    assert torch.equal(weights(), before)
    train(state, train_split(prepared), settings(epochs=3, trunk_only_epochs=2))
    assert not torch.equal(weights(), before)


def test_trunk_only_epochs_equal_training_with_early_exits_of_weight_zero(prepared: Path) -> None:
    one, other = tiny_state(), tiny_state()
    train(one, train_split(prepared), settings(trunk_only_epochs=1, exit_weights=(1.0, 0.5)))
    train(other, train_split(prepared), settings(exit_weights=(0.0, 0.5)))
    assert differing(one, other) == []


@pytest.mark.parametrize("factor", [0.0, 0.1, 1.0, 2.0])
def test_trunk_lr_scales_the_first_step_of_the_backbone(factor: float) -> None:
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def step(trunk_lr: float) -> dict[str, Tensor]:
        network = tiny_network(dropout=0.0)
        start = values(network.state_dict())
        optimizer = sgd(network, trunk_lr, momentum=0.0, nesterov=False, weight_decay=0.0)
        set_lr(optimizer, 0.5)
        sum(logits.square().sum() for logits in network(images)).backward()  # type: ignore[union-attr]
        optimizer.step()
        return {name: p.detach() - start[name] for name, p in network.named_parameters()}

    full, slowed = step(1.0), step(factor)
    backbone = {name for name in full if name.startswith(("backbone.0.", "backbone.1."))}
    assert backbone
    for name in full:
        expected = full[name] * (factor if name in backbone else 1)
        torch.testing.assert_close(slowed[name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("trunk_lr", [1.0, 0.2])
def test_layer_decay_gives_each_block_a_rate_of_its_own(name: str, trunk_lr: float) -> None:
    exits = (ExitConfig("layer1"), ExitConfig("layer3"))
    torch.manual_seed(0)
    network = build_network(ModelConfig("resnet18", exits=exits), 3, 32)
    optimizer = OPTIMIZERS[name](network, trunk_lr, 0.75)
    set_lr(optimizer, 0.01)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates)

    # By hand: a stem and eight blocks, the last of which is one step from the classifier.
    depths = {"conv1": 9, "bn1": 9}
    for stage in range(1, 5):
        depths |= {f"layer{stage}.{block}": 10 - 2 * stage - block for block in range(2)}
    for parameter_name, parameter in network.named_parameters():
        prefixes = [f"backbone.{block}." for block in depths]
        [*depth] = (depths[p[9:-1]] for p in prefixes if parameter_name.startswith(p))
        expected = 0.01 * trunk_lr * 0.75 ** depth[0] if depth else 0.01
        assert rates[id(parameter)] == pytest.approx(expected, rel=1e-12), parameter_name
    assert min(rates.values()) == pytest.approx(0.01 * trunk_lr * 0.75**9)


def test_layer_decay_goes_with_frozen_blocks(prepared: Path) -> None:
    state = tiny_state(optimizer=partial(sgd, layer_decay=0.5))
    before = values(state.network.state_dict())
    train(state, train_split(prepared), settings(frozen=((1, 1),)))
    after = state.network.state_dict()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor) == name.startswith("backbone.0."), name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trunk_lr_puts_every_parameter_in_one_group_with_its_factor(name: str) -> None:
    network = tiny_network()
    optimizer = OPTIMIZERS[name](network, 0.2, weight_decay=0.3)
    found = {id(p): (g["lr_factor"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found)
    assert found == {
        id(p): (0.2 if n.startswith(("backbone.0.", "backbone.1.")) else 1.0, 0.3 if p.ndim > 1 else 0.0)
        for n, p in network.named_parameters()
    }
