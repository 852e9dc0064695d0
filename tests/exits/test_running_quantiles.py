from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.running_quantiles import held_point, hold_rates, is_continuous, rates_of_arrivals
from greenedge.exits.sweep import ExitScores


def by_hand(uncertainty: np.ndarray, rates: list[float], limits: list[float], warm_up: int) -> list[int]:
    """Image by image, sorting all that came before anew each time."""
    arrived: list[list[float]] = [[] for _ in rates]
    taken = []
    for scores in uncertainty.T:
        exit_index = 0
        while exit_index < len(rates):
            before = sorted(arrived[exit_index])
            arrived[exit_index].append(scores[exit_index])
            if len(before) < warm_up:
                exits = scores[exit_index] < limits[exit_index]
            else:
                k = math.floor(rates[exit_index] * (len(before) + 1) + 1e-9)
                # Fewer than k of those before are smaller or equal: it lies strictly below the k-th smallest.
                exits = sum(each <= scores[exit_index] for each in before) < k
            if exits:
                break
            exit_index += 1
        taken.append(exit_index)
    return taken


@given(
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.integers(1, 60),
    st.integers(0, 20),
    st.booleans(),
)
def test_hold_rates_routes_as_by_hand(seed: int, early_exits: int, images: int, warm_up: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    uncertainty = random.random((early_exits, images))
    if ties:
        uncertainty = uncertainty.round(1)
    rates = random.choice([0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1], early_exits)
    limits = random.random(early_exits).tolist()
    expected = by_hand(uncertainty, rates.tolist(), limits, warm_up)
    assert hold_rates(uncertainty, rates, limits, warm_up).tolist() == expected


def test_hold_rates_keeps_the_rates_of_calibration_whatever_becomes_of_the_uncertainties() -> None:
    random = np.random.default_rng(0)
    calibration, shifted = random.normal(size=(2, 3, 4000))
    limits = [-0.5, -0.2, 0.3]
    exits = np.array([next((e for e in range(3) if of[e] < limits[e]), 3) for of in calibration.T])
    wanted = np.bincount(exits, minlength=4) / 4000
    rates = rates_of_arrivals(exits, 4)
    assert rates[0] == wanted[0]
    assert rates[1] == pytest.approx(wanted[1] / (1 - wanted[0]))

    for shift, scale in ((2.0, 1.0), (-3.0, 0.2), (0.0, 5.0)):
        moved = shift + scale * shifted
        held = np.bincount(hold_rates(moved, rates, limits), minlength=4) / 4000
        plain = np.array([next((e for e in range(3) if of[e] < limits[e]), 3) for of in moved.T])
        assert np.abs(held - wanted).max() < 0.04
        assert np.abs(np.bincount(plain, minlength=4) / 4000 - wanted).max() > 0.04


def test_hold_rates_of_none_and_of_all() -> None:
    uncertainty = np.random.default_rng(0).random((1, 50))
    assert set(hold_rates(uncertainty, np.array([0.0]), [1.0], 0)) == {1}
    assert set(hold_rates(uncertainty, np.array([1.0]), [0.0], 0)) == {0}
    assert hold_rates(uncertainty, np.array([1.0]), [0.0], 20).tolist() == [1] * 20 + [0] * 30


def test_held_point_takes_images_in_the_given_order_and_counts_them_in_their_own() -> None:
    random = np.random.default_rng(1)
    uncertainty = random.random((2, 300))
    correct = random.random((3, 300)) < 0.5
    gflops = np.array([1.0, 2.0, 4.0])
    scores = ExitScores(CRITERIA["entropy"], uncertainty, np.minimum.accumulate(uncertainty, axis=0), correct, gflops)
    policy, rates = ExitPolicy("entropy", (0.3, 0.6)), np.array([0.2, 0.5])
    order = random.permutation(300)
    taken = by_hand(uncertainty[:, order], rates.tolist(), [0.3, 0.6], 100)
    point = held_point(scores, policy, rates, order)
    assert point.accuracy == sum(correct[e, i] for e, i in zip(taken, order, strict=True)) / 300
    assert point.gflops == pytest.approx(sum(gflops[e] for e in taken) / 300)
    assert point.exit_shares == tuple(taken.count(e) / 300 for e in range(3))


def test_is_continuous_of_all_but_patience() -> None:
    assert [name for name, each in CRITERIA.items() if not is_continuous(each)] == ["patience"]
