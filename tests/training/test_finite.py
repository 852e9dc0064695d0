"""A network that is no longer finite stops the training and is never saved."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from greenedge.errors import TrainingError
from greenedge.training.finite import check_finite
from tests.training.helpers import settings, tiny_state, train, train_split


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["weight", "buffer", "average", "optimizer"])
def test_check_finite_checks_each_number_that_would_be_saved(prepared: Path, value: float, where: str) -> None:
    state = tiny_state(ema_decay=0.9)
    train(state, train_split(prepared), settings())
    check_finite(state)
    assert state.averaged is not None
    tensors = {
        "weight": next(iter(state.network.heads.parameters())),
        "buffer": state.network.get_buffer("backbone.1.1.running_var"),
        "average": next(iter(state.averaged.module.parameters())),
        "optimizer": next(iter(state.optimizer.state.values()))["momentum_buffer"],
    }
    with torch.no_grad():
        tensors[where].view(-1)[-1] = value
    with pytest.raises(TrainingError, match="no longer finite; start another run"):
        check_finite(state)


def test_first_infinite_accepts_numbers_whose_squares_overflow() -> None:
    state = tiny_state()
    with torch.no_grad():
        next(state.network.parameters()).fill_(1e30)
    check_finite(state)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_fit_checks_the_weights_after_the_last_step_of_an_epoch(prepared: Path, steps: int) -> None:
    """The last loss is computed before the last step, so it cannot show the final weights."""
    rates = iter([1e-6] * (steps - 1) + [1e38] * 9)
    setting = settings(batch_size=36 // steps, learning_rate=lambda *_: next(rates), exit_weights=(1e4, 1e4))
    with pytest.raises(TrainingError, match="no longer finite"):
        train(tiny_state(), train_split(prepared), setting)
