"""The average of the last epochs' weights, beside means by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from greenedge.training.average import LastEpochsAverage
from greenedge.training.state import TrainingState, new_state, restore_state, save_state
from tests.training.helpers import GENTLE_SGD, differing, settings, tiny_network, tiny_state, train, train_split


def averaging_state(seed: int = 0) -> TrainingState:
    network = tiny_network(seed)
    return new_state(network, GENTLE_SGD(network), None, average_last=True)


def weights_after_each_epoch(prepared: Path, epochs: int) -> list[dict[str, Tensor]]:
    """Of a training without any average."""
    state, found = tiny_state(), []
    for done in range(1, epochs + 1):
        train(state, train_split(prepared), settings(epochs=done))
        found.append({name: tensor.clone() for name, tensor in state.network.state_dict().items()})
    return found


@pytest.mark.parametrize("last", [2, 3, 5])
def test_average_last_is_the_mean_of_the_last_epochs(prepared: Path, last: int) -> None:
    plain = weights_after_each_epoch(prepared, 5)
    state = averaging_state()
    train(state, train_split(prepared), settings(epochs=5, average_last=last))
    averaged = state.evaluated.state_dict()
    assert averaged.keys() == plain[-1].keys()
    for name, tensor in averaged.items():
        if tensor.is_floating_point():  # running means and variances too
            expected = torch.stack([each[name].double() for each in plain[-last:]]).mean(0)
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(tensor, plain[-1][name])
    assert all(torch.equal(tensor, plain[-1][name]) for name, tensor in state.network.state_dict().items())


def test_average_last_is_not_evaluated_before_it_begins(prepared: Path) -> None:
    state = averaging_state()
    assert state.evaluated is state.network
    train(state, train_split(prepared), settings(epochs=3, average_last=2), stop_after=3)
    assert (state.epoch, state.evaluated) == (1, state.network)
    train(state, train_split(prepared), settings(epochs=3, average_last=2))
    assert isinstance(state.averaged, LastEpochsAverage)
    assert state.evaluated is state.averaged.module


@pytest.mark.parametrize("stop_after", [2, 6, 7])
def test_average_last_is_the_same_in_a_resumed_training(prepared: Path, tmp_path: Path, stop_after: int) -> None:
    setting = settings(epochs=4, average_last=3)
    unbroken, first, second = averaging_state(), averaging_state(), averaging_state(seed=9)
    train(unbroken, train_split(prepared), setting)
    train(first, train_split(prepared), setting, stop_after)
    save_state(tmp_path / "state.pt", first)
    restore_state(tmp_path / "state.pt", second, steps_per_epoch=3)
    train(second, train_split(prepared), setting)
    assert differing(unbroken, second) == []


def test_average_last_begins_anew_in_a_training_that_becomes_longer(prepared: Path) -> None:
    longer, whole = averaging_state(), averaging_state()
    train(longer, train_split(prepared), settings(epochs=2, average_last=2))
    train(longer, train_split(prepared), settings(epochs=5, average_last=2))
    train(whole, train_split(prepared), settings(epochs=5, average_last=2))
    assert differing(longer, whole) == []
