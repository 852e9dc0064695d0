from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.exits.baselines import Advantage, largest_advantage, oracle_point, static_mixture
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import OperatingPoint, score_outputs, sweep_all
from tests.exits.helpers import small_outputs


@given(small_outputs)
def test_the_oracle_is_a_loop_over_images(outputs: ExitOutputs) -> None:
    taken, right = [], []
    for image, label in enumerate(outputs.labels):
        place = outputs.num_exits - 1
        for e in range(outputs.num_exits):
            if outputs.logits[e, image].argmax() == label:
                place = e
                break
        taken.append(place)
        right.append(outputs.logits[place, image].argmax() == label)
    point = oracle_point(outputs)
    assert point.thresholds == ()
    assert point.accuracy == pytest.approx(np.mean(right))
    assert point.exit_shares == pytest.approx([taken.count(e) / len(taken) for e in range(outputs.num_exits)])
    assert point.gflops == pytest.approx(np.mean([outputs.gflops[e] for e in taken]))


@given(small_outputs, st.sampled_from(sorted(CRITERIA)))
def test_no_threshold_is_more_accurate_than_the_oracle(outputs: ExitOutputs, name: str) -> None:
    best = oracle_point(outputs).accuracy
    assert (sweep_all(score_outputs(outputs, CRITERIA[name])).accuracy <= best + 1e-12).all()


def test_the_oracle_by_hand() -> None:
    # Right at exit 1 and 3, at exit 2 only, nowhere, at exit 3 only.
    answers = np.array([[0, 1, 1, 1], [1, 0, 1, 1], [0, 1, 1, 0]])
    outputs = ExitOutputs(np.eye(2, dtype=np.float32)[answers], np.zeros(4, dtype=np.int64), np.array([1.0, 2.0, 4.0]))
    assert oracle_point(outputs) == OperatingPoint((), 0.75, (0.25, 0.25, 0.5), 2.75)


def best_lot(cost: float, alone: list[float], accuracies: list[float]) -> float:
    """The best of one exit, or of two mixed by lot, that costs no more on average."""
    best = -np.inf
    for low, a in zip(alone, accuracies, strict=True):
        if low > cost:
            continue
        best = max(best, a)
        for high, b in zip(alone, accuracies, strict=True):
            if high > cost:
                share = (cost - low) / (high - low)
                best = max(best, (1 - share) * a + share * b)
    return best


fixed_exits = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=6)


@given(fixed_exits)
def test_the_mix_of_fixed_exits_is_the_best_of_all_pairs_by_lot(exits: list[tuple[int, int]]) -> None:
    alone, accuracies = [cost / 4 for cost, _ in exits], [right / 8 for _, right in exits]
    asked = np.arange(1, 41) / 16
    found = static_mixture(asked, np.array(alone), np.array(accuracies))
    for cost, height in zip(asked.tolist(), found.tolist(), strict=True):
        if cost < min(alone):
            assert np.isnan(height)
        else:
            assert height == pytest.approx(best_lot(cost, alone, accuracies), abs=1e-12)


def test_the_mix_by_hand() -> None:
    # 0.6 at 2 lies below the line from 0.5 at 1 to 0.9 at 3; the exit at 5 is dearer and no better.
    alone, accuracies = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.5, 0.6, 0.9, 0.8])
    found = static_mixture(np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0]), alone, accuracies)
    np.testing.assert_allclose(found, [np.nan, 0.5, 0.6, 0.7, 0.9, 0.9, 0.9])


def test_the_cost_of_the_cheapest_exit_is_not_missed_by_rounding() -> None:
    found = static_mixture(np.array([0.3 * (1 - 1e-12), 0.3 * (1 - 1e-6)]), np.array([0.3]), np.array([0.5]))
    np.testing.assert_array_equal(found, [0.5, np.nan])


def test_the_largest_advantage_by_hand() -> None:
    # The mix gives 0.5, 0.6, 0.7; nothing is so cheap as 0.5, whatever the curve claims there.
    gflops, accuracy = np.array([0.5, 1.0, 1.5, 2.0]), np.array([0.9, 0.5, 0.75, 0.7])
    found = largest_advantage(gflops, accuracy, np.array([1.0, 2.0]), np.array([0.5, 0.7]))
    assert found == Advantage(pytest.approx(0.15), 1.5)


def test_an_advantage_may_be_a_loss() -> None:
    found = largest_advantage(np.array([1.0, 2.0]), np.array([0.3, 0.6]), np.array([1.0, 2.0]), np.array([0.5, 0.7]))
    assert found == Advantage(pytest.approx(-0.1), 2.0)


@given(fixed_exits, st.lists(st.tuples(st.integers(1, 40), st.integers(0, 32)), min_size=1, max_size=8))
def test_the_largest_advantage_is_that_of_a_loop(exits: list[tuple[int, int]], curve: list[tuple[int, int]]) -> None:
    alone, accuracies = [cost / 4 for cost, _ in exits], [right / 8 for _, right in exits]
    points = [(cost / 16, right / 32) for cost, right in [*curve, (40, 3)]]  # the last is dear enough for any exit
    gains = {(g, a): a - best_lot(g, alone, accuracies) for g, a in points if g >= min(alone)}
    gflops, accuracy = np.array(points).T
    found = largest_advantage(gflops, accuracy, np.array(alone), np.array(accuracies))
    assert found.accuracy == pytest.approx(max(gains.values()), abs=1e-12)
    assert any(g == found.gflops and gain == pytest.approx(found.accuracy, abs=1e-12) for (g, _), gain in gains.items())
