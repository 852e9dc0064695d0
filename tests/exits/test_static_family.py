"""Early exit beside networks without it: hulls, bounds and savings against hand formulas, and controls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.exits.baselines import cost_on_mixture, static_mixture
from greenedge.exits.bootstrap import bootstrap_points, bootstrap_weights
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.static_family import StaticChoice, StaticVerdict, above_static, exits_alone, judge_against_static
from greenedge.exits.sweep import ExitScores, sweep_all

IMAGES = 2000
GFLOPS = np.array([1.0, 2.0])


def scores(seed: int, telling: float) -> tuple[ExitScores, np.ndarray]:
    """Two exits, right in 60 and 80 %, and how hard each image is; `telling` 0: the first exit's scores are noise."""
    random = np.random.default_rng(seed)
    difficulty = random.random(IMAGES)
    uncertainty = (telling * difficulty + (1 - telling) * random.random(IMAGES))[None]
    correct = difficulty < np.array([0.6, 0.8])[:, None]
    return ExitScores(CRITERIA["entropy"], uncertainty, uncertainty, correct, GFLOPS), difficulty


def judged(each: ExitScores, *named: StaticChoice) -> StaticVerdict:
    weights = bootstrap_weights(IMAGES, 300)
    curve = sweep_all(each)
    some = curve.rows(curve.spread(60))
    resampled = bootstrap_points(each, [(threshold,) for threshold in some.thresholds.tolist()], weights)
    return judge_against_static(some, resampled, [*exits_alone(each.correct, GFLOPS), *named], weights)


def test_judge_with_scores_that_tell_easy_from_hard_pays() -> None:
    verdict = judged(scores(0, telling=1)[0])
    assert verdict.pays
    # 60 % exit at exit 1 and are all right; the hull asks for the final exit's cost of 2.0 there, early exit for 1.4.
    assert verdict.near_backbone_gflops == pytest.approx(1.4, abs=0.03)
    assert verdict.advantage.largest.accuracy == pytest.approx(0.8 - (0.6 + 0.4 * 0.2), abs=0.02)
    assert verdict.saving is not None
    assert verdict.saving.value == pytest.approx(1 - 1.4 / 2, abs=0.03)
    assert verdict.saving.interval.low < verdict.saving.value < verdict.saving.interval.high
    ((low, high),) = verdict.above
    # Beyond 80 % the last to exit are wrong at both exits: up to a cost of 1.25 the curve lies below the hull.
    assert 1.25 < low < 1.3
    assert high > 1.8
    assert verdict.backbone.name == "the backbone without exits"
    assert verdict.named == ()


def test_judge_with_shuffled_scores_gives_the_random_mix() -> None:
    pays = [judged(scores(seed, telling=0)[0]).pays for seed in range(12)]
    assert sum(pays) <= 1


def test_judge_with_a_better_small_network_does_not_pay_and_names_it() -> None:
    each, difficulty = scores(0, telling=1)
    small = StaticChoice("small", 1.2, difficulty < 0.82)
    verdict = judged(each, small)
    assert not verdict.pays
    assert verdict.above == ()
    assert verdict.instead is small
    assert verdict.named == (small,)
    assert str(small) == f"small ({100 * small.correct.mean():.2f} % at 1.2000 GFLOPs)"


def test_above_static_is_the_difference_from_the_hull_at_its_cost() -> None:
    each, difficulty = scores(1, telling=1)
    taken = each.exit_indices((0.4,))
    correct, gflops = each.correct[taken, np.arange(IMAGES)], GFLOPS[taken]
    sister = StaticChoice("sister", 1.5, difficulty < 0.75)
    weights = bootstrap_weights(IMAGES, 200)
    found = above_static(correct, gflops, [*exits_alone(each.correct, GFLOPS), sister], weights)

    first, final, middle = each.correct[0].mean(), each.correct[1].mean(), sister.accuracy
    cost = gflops.mean()
    assert 1.5 < cost < 2
    assert first < middle < final
    assert found.value == pytest.approx(correct.mean() - (middle + (final - middle) * (cost - 1.5) / 0.5), abs=1e-9)
    # One resample by hand: counts of images in place of shares.
    (counts,) = (weights[:1] * IMAGES).round().astype(int)
    rows = np.repeat(np.arange(IMAGES), counts)
    cost = gflops[rows].mean()
    low, high = sister.correct[rows].mean(), each.correct[1][rows].mean()
    by_hand = correct[rows].mean() - (low + (high - low) * (cost - 1.5) / 0.5)
    alone = above_static(correct, gflops, [*exits_alone(each.correct, GFLOPS), sister], weights[:1])
    assert alone.interval.low == pytest.approx(by_hand, abs=1e-6)
    assert found.interval.low < found.value < found.interval.high


@given(
    points=st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.01, 1)), min_size=1, max_size=5),
    share=st.floats(0, 1),
)
def test_cost_on_mixture_is_the_inverse_of_static_mixture(points: list[tuple[float, float]], share: float) -> None:
    costs, accuracies = np.array(points).T
    reachable = share * accuracies.max()
    cost = cost_on_mixture(reachable, costs, accuracies)
    assert cost is not None
    (height,) = static_mixture(np.array([cost]), costs, accuracies)
    assert height >= reachable - 1e-9
    if cost > costs.min() * (1 + 1e-9):
        assert height == pytest.approx(reachable)
        (cheaper,) = static_mixture(np.array([costs.min() + 0.5 * (cost - costs.min())]), costs, accuracies)
        assert cheaper < reachable
    assert cost_on_mixture(accuracies.max() + 1e-6, costs, accuracies) is None
