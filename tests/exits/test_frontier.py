from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.exits import frontier
from greenedge.exits.areas import dominated_area, pareto_front
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.frontier import Frontier, pareto_frontier, shared_frontier
from greenedge.exits.sweep import ExitScores, score_outputs
from tests.exits.helpers import random_outputs

criteria = st.sampled_from(sorted(CRITERIA))


def outputs_of(exits: st.SearchStrategy[int]) -> st.SearchStrategy[ExitScores]:
    return st.builds(
        lambda seed, exits, images, levels, name: score_outputs(
            random_outputs(seed, exits, images, 4, levels), CRITERIA[name]
        ),
        seed=st.integers(0, 2**31),
        exits=exits,
        images=st.integers(1, 9),
        levels=st.sampled_from([None, 2, 3]),
        name=criteria,
    )


def brute_force(scores: ExitScores) -> tuple[np.ndarray, np.ndarray]:
    """(gflops, accuracy) of the front over every combination of thresholds that makes a difference."""
    each = [np.append(-np.inf, np.append(np.unique(row), np.inf)) for row in scores.uncertainty]
    costs, accuracies = [], []
    for limits in itertools.product(*each):
        taken = []
        for image in range(scores.correct.shape[1]):
            early = [e for e, limit in enumerate(limits) if scores.uncertainty[e, image] < limit]
            taken.append(early[0] if early else scores.num_exits - 1)
        costs.append(float(np.mean([scores.gflops[e] for e in taken])))
        accuracies.append(float(np.mean([scores.correct[e, i] for i, e in enumerate(taken)])))
    gflops, accuracy = np.array(costs).round(12), np.array(accuracies)
    front = pareto_front(gflops, accuracy)
    return gflops[front], accuracy[front]


def area(scores: ExitScores, gflops: np.ndarray, accuracy: np.ndarray) -> float:
    return dominated_area(gflops, accuracy, float(scores.gflops[-1]) * (1 + 1e-9))


def check_points_are_what_their_thresholds_do(scores: ExitScores, front: Frontier) -> None:
    for thresholds, accuracy, gflops in zip(front.thresholds, front.accuracy, front.gflops, strict=True):
        point = scores.operating_point(thresholds.tolist())
        assert point.accuracy == pytest.approx(accuracy)
        assert point.gflops == pytest.approx(gflops)


@given(outputs_of(st.integers(1, 3)))
def test_up_to_three_exits_the_front_is_that_of_all_combinations(scores: ExitScores) -> None:
    front = pareto_frontier(scores)
    gflops, accuracy = brute_force(scores)
    assert front.gflops.tolist() == pytest.approx(gflops.tolist())
    assert front.accuracy.tolist() == pytest.approx(accuracy.tolist())
    check_points_are_what_their_thresholds_do(scores, front)


@given(outputs_of(st.just(4)))
def test_with_four_exits_points_are_real_and_lie_between_the_shared_front_and_the_best(scores: ExitScores) -> None:
    front = pareto_frontier(scores)
    check_points_are_what_their_thresholds_do(scores, front)
    best = area(scores, *brute_force(scores))
    found = area(scores, front.gflops, front.accuracy)
    shared = shared_frontier(scores)
    assert area(scores, shared.gflops, shared.accuracy) - 1e-9 <= found <= best + 1e-9


def test_the_search_finds_nearly_all_of_the_front_of_structureless_outputs() -> None:
    gaps = []
    for seed in range(25):
        scores = score_outputs(random_outputs(seed, 4, 14, 4), CRITERIA["entropy"])
        front = pareto_frontier(scores)
        gaps.append(1 - area(scores, front.gflops, front.accuracy) / area(scores, *brute_force(scores)))
    assert min(gaps) > -1e-9
    assert float(np.mean(gaps)) < 0.002
    assert sum(gap < 1e-9 for gap in gaps) >= 23


@pytest.mark.parametrize("exits", [2, 3, 4, 6])
def test_the_front_rises_in_cost_and_accuracy_and_starts_at_a_first_exit(exits: int) -> None:
    scores = score_outputs(random_outputs(1, exits, 300, 6), CRITERIA["entropy"])
    front = pareto_frontier(scores)
    assert (np.diff(front.gflops) > 0).all()
    assert (np.diff(front.accuracy) > 0).all()
    assert np.isfinite(front.thresholds).all()
    check_points_are_what_their_thresholds_do(scores, front)


def test_a_network_without_early_exits_has_one_point() -> None:
    scores = score_outputs(random_outputs(1, 1, 30, 6), CRITERIA["entropy"])
    front = pareto_frontier(scores)
    assert (len(front), front.thresholds.shape) == (1, (1, 0))
    assert front.gflops[0] == pytest.approx(scores.gflops[0])


@pytest.mark.parametrize("seed", [1, 3, 4, 7])
def test_the_search_goes_on_where_one_pass_leaves_better_points(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = score_outputs(random_outputs(seed, 5, 60, 5), CRITERIA["entropy"])

    def area() -> float:
        front = pareto_frontier(scores)
        return dominated_area(front.gflops, front.accuracy, float(scores.gflops[-1]))

    found = area()
    monkeypatch.setattr(frontier, "_PASSES", 1)
    assert found > area()
