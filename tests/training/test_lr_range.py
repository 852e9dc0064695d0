"""The learning rate range test, beside a training by hand and curves whose steepest point is known."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from greenedge.data.loader import iterate_batches
from greenedge.errors import UsageError
from greenedge.reporting.lr_range import plot_lr_range
from greenedge.training.loop import epoch_order
from greenedge.training.lr_range import RateRange, find_lr_range, judge_losses
from greenedge.training.optimizers import sgd
from greenedge.training.run import Run
from tests.training.helpers import TRANSFORM, settings, tiny_network, tiny_state, train_split

PLAIN = partial(sgd, momentum=0.0, nesterov=False, weight_decay=0.0)


def tiny_run(prepared: Path, **changes: Any) -> Run:
    config = SimpleNamespace(train=SimpleNamespace(kept_features=None))
    splits = SimpleNamespace(train=train_split(prepared))
    state = tiny_state(optimizer=PLAIN, dropout=0.0)
    return Run(state, cast(Any, splits), settings(**changes), cast(Any, config), torch.device("cpu"), Path("none"))


def test_rates_are_evenly_spaced_in_their_logarithm() -> None:
    wanted = RateRange(1e-5, 10.0, 25)
    assert [wanted.rate(step) for step in range(25)] == pytest.approx(np.geomspace(1e-5, 10, 25).tolist(), rel=1e-9)


def test_find_lr_range_makes_the_steps_of_a_training_by_hand(prepared: Path) -> None:
    wanted = RateRange(1e-4, 0.1, 10)  # three steps an epoch
    found = find_lr_range(tiny_run(prepared), wanted)

    network = tiny_network(dropout=0.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    expected: list[float] = []
    while len(expected) < 10:
        order = epoch_order(36, 5, len(expected) // 3)[:30]
        for batch in iterate_batches(train_split(prepared), 10, order, torch.device("cpu")):
            optimizer.param_groups[0]["lr"] = wanted.rate(len(expected))
            loss = sum(F.cross_entropy(each, batch.targets) for each in network(TRANSFORM(batch.images)))
            assert torch.is_tensor(loss)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            expected.append(loss.item())
    assert found.losses == pytest.approx(expected[:10], rel=1e-4)
    assert found.rates == pytest.approx(np.geomspace(1e-4, 0.1, 10).tolist())
    assert not found.diverged


def test_find_lr_range_ends_where_the_loss_diverges(prepared: Path) -> None:
    found = find_lr_range(tiny_run(prepared), RateRange(1e-3, 1e7, 40))
    assert found.diverged
    assert 3 < len(found.losses) < 40
    assert all(map(math.isfinite, found.losses))
    assert max(found.losses[:-1]) <= 4 * min(found.losses)


def test_judge_losses_finds_the_steepest_fall_and_the_lowest_loss() -> None:
    exponents = np.linspace(-6, 0, 121)
    # A logistic fall, steepest at 10^-3.5, and a rise far behind it.
    curve = 3 - 2 / (1 + np.exp(-4 * (exponents + 3.5))) + np.exp(8 * (exponents + 0.5))
    noise = np.random.default_rng(0).normal(0, 0.02, len(curve))
    found = judge_losses((10**exponents).tolist(), (curve + noise).tolist(), diverged=False)
    assert found.suggested is not None
    assert found.lowest_loss_at is not None
    assert math.log10(found.suggested) == pytest.approx(-3.5, abs=0.3)
    assert curve[found.rates.index(found.lowest_loss_at)] == pytest.approx(curve.min(), abs=0.02)

    [axes] = plot_lr_range(found, "a network").axes
    assert axes.get_xscale() == "log"
    drawn = [line.get_xdata()[0] for line in axes.get_lines()[2:]]  # type: ignore[index]
    assert drawn == [found.suggested, found.lowest_loss_at]


@pytest.mark.parametrize("losses", [[2.0] * 20, [2.0 + 0.1 * n for n in range(20)], []])
def test_judge_losses_suggests_nothing_where_nothing_falls(losses: list[float]) -> None:
    found = judge_losses([1e-5 * 2**n for n in range(len(losses))], losses, diverged=True)
    assert (found.suggested, found.lowest_loss_at) == (None, None)


@pytest.mark.parametrize(
    "values", [(0.0, 1.0, 50), (1.0, 1.0, 50), (1e-3, math.inf, 50), (math.nan, 1.0, 50), (1, 2, 9)]
)
def test_rate_ranges_that_are_none_are_refused(values: tuple[float, float, int]) -> None:
    with pytest.raises(UsageError, match=r"must be above 0 and below|too few"):
        RateRange(*values)
