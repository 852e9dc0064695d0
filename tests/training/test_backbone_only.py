"""Epochs in which only the final exit's loss counts do not change the heads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from greenedge.training.loop import EpochRecord
from greenedge.training.optimizers import adam, adamw, sgd
from tests.training.helpers import settings, tiny_state, train, train_split


def heads(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in network.state_dict().items() if name.startswith("heads.")}


@pytest.mark.parametrize("optimizer", [partial(sgd, weight_decay=0.1), partial(adam, weight_decay=0.1), adamw])
def test_backbone_only_epochs_do_not_change_the_heads(prepared: Path, optimizer: object) -> None:
    state = tiny_state(optimizer=optimizer)  # type: ignore[arg-type]
    state.network.heads[0].append(nn.BatchNorm1d(3))  # its statistics do not change either
    before = heads(state.network)
    (record,) = train(state, train_split(prepared), settings(epochs=1, trunk_only_epochs=1))
    assert all(torch.equal(each, before[name]) for name, each in heads(state.network).items())
    assert isinstance(record, EpochRecord)
    assert record.train_accuracy[0] is None
    assert record.train_accuracy[1] is not None


def test_backbone_only_epochs_are_followed_by_training_of_the_heads(prepared: Path) -> None:
    state = tiny_state()
    before = heads(state.network)
    records = train(state, train_split(prepared), settings(epochs=2, trunk_only_epochs=1))
    assert any(not torch.equal(each, before[name]) for name, each in heads(state.network).items())
    assert records[1].train_accuracy[0] is not None


def test_fit_does_not_move_parameters_without_a_loss_by_old_momentum(prepared: Path) -> None:
    """An exit of weight 0 is not run at all: neither decay nor momentum touches it."""
    state = tiny_state()
    train(state, train_split(prepared), settings(epochs=1))
    before = heads(state.network)
    train(state, train_split(prepared), settings(epochs=2, exit_weights=(0.0, 1.0)))
    assert all(torch.equal(each, before[name]) for name, each in heads(state.network).items())
