from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.errors import UsageError
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.frontier import Frontier, pareto_frontier, shared_frontier
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import ExitScores, score_outputs
from greenedge.exits.tuning import (
    betting_p_value,
    cheapest_above,
    midpoint_thresholds,
    most_accurate_within,
    risk_controlled,
)
from tests.exits.helpers import random_outputs, small_outputs

fronts = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=8, unique=True).map(
    lambda points: Frontier(
        np.zeros((len(points), 1)),
        np.array(sorted(accuracy for _, accuracy in points)) / 40,
        np.array(sorted(cost for cost, _ in points)) / 16,
    )
)


@given(fronts, st.integers(0, 45))
def test_the_best_within_a_budget_is_the_most_accurate_of_all_that_cost_no_more(front: Frontier, units: int) -> None:
    budget = units / 16
    inside = [p for p in range(len(front)) if front.gflops[p] <= budget]
    if inside:
        found = most_accurate_within(front, budget)
        assert front.gflops[found] <= budget
        assert front.accuracy[found] == max(front.accuracy[p] for p in inside)
    else:
        with pytest.raises(UsageError, match=f"^no thresholds keep within {budget:g} GFLOPs per image; exiting at the"):
            most_accurate_within(front, budget)


@given(fronts, st.integers(0, 45))
def test_the_cheapest_reaching_an_accuracy_costs_least_of_all_that_do(front: Frontier, units: int) -> None:
    wanted = units / 40
    reaching = [p for p in range(len(front)) if front.accuracy[p] >= wanted]
    if reaching:
        found = cheapest_above(front, wanted)
        assert front.accuracy[found] >= wanted
        assert front.gflops[found] == min(front.gflops[p] for p in reaching)
    else:
        with pytest.raises(UsageError, match=r"^no thresholds reach .* % on these images; the best reach"):
            cheapest_above(front, wanted)


def test_what_cannot_be_had_is_said_with_what_can() -> None:
    front = Frontier(np.zeros((2, 1)), np.array([0.5, 0.625]), np.array([0.25, 0.75]))
    with pytest.raises(UsageError) as caught:
        most_accurate_within(front, 0.2)
    assert str(caught.value) == (
        "no thresholds keep within 0.2 GFLOPs per image; exiting at the first exit costs 0.2500"
    )
    with pytest.raises(UsageError) as caught:
        cheapest_above(front, 0.7)
    assert str(caught.value) == ("no thresholds reach 70 % on these images; the best reach 62.50 % at 0.7500 GFLOPs")


@pytest.mark.parametrize("exits", [2, 3, 4])
def test_a_budget_of_just_the_first_exit_is_met(exits: int) -> None:
    for seed in range(5):
        scores = score_outputs(random_outputs(seed, exits, 97, 4), CRITERIA["entropy"])
        for front in (shared_frontier(scores), pareto_frontier(scores)):
            found = most_accurate_within(front, float(scores.gflops[0]))
            assert (scores.exit_indices(front.thresholds[found].tolist()) == 0).all()


def gamblers_p_value(values: list[float], mean: float, level: float) -> float:
    """One bet after the other; each sized by the mean squares around running means, with a prior of one half."""
    capital, best = 1.0, 1.0
    for index, value in enumerate(values):
        spread = 0.25
        for seen in range(index):
            running = (0.5 + sum(values[: seen + 1])) / (seen + 2)
            spread += (values[seen] - running) ** 2
        variance = spread / (index + 1)
        bet = min(math.sqrt(2 * math.log(1 / level) / (len(values) * variance)), 0.75 / (1 - mean))
        capital *= 1 + bet * (mean - value)
        best = max(best, capital)
    return 1 / best


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.floats(0.05, 0.95),
    st.floats(0.01, 0.5),
)
def test_the_p_value_is_that_of_a_gambler_written_out(values: list[float], mean: float, level: float) -> None:
    found = betting_p_value(np.array(values), mean, level)
    assert found == pytest.approx(gamblers_p_value(values, mean, level), rel=1e-9)
    assert 0 < found <= 1


def test_the_p_value_of_one_value_by_hand() -> None:
    # The bet is sqrt(2 * 0.02 / 0.25) = 0.4; the capital 1 + 0.4 * (0.75 - 0.25).
    assert betting_p_value(np.array([0.25]), 0.75, math.exp(-0.02)) == pytest.approx(1 / 1.2)
    # Here it is capped at 0.75 / (1 - 0.75) = 3: a value of 1 would take all but a quarter.
    assert betting_p_value(np.array([0.25]), 0.75, 1e-9) == pytest.approx(1 / (1 + 3 * 0.5))
    # Nobody wins with values above the mean.
    assert betting_p_value(np.array([0.9, 0.8]), 0.75, 0.1) == 1


def test_no_values_prove_nothing() -> None:
    assert betting_p_value(np.zeros(0), 0.5, 0.1) == 1


@pytest.mark.parametrize("kind", ["loss", "rare loss", "uniform"])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_at_the_edge_of_the_hypothesis_small_p_values_are_as_rare_as_they_say(kind: str, level: float) -> None:
    random = np.random.default_rng(7)
    draws, images = 2000, 150
    if kind == "uniform":
        values, mean = random.uniform(size=(draws, images)), 0.5
    else:
        worse, better = (0.3, 0.2) if kind == "loss" else (0.05, 0.0)
        values = random.choice([1.0, 0.0, 0.5], size=(draws, images), p=[worse, better, 1 - worse - better])
        mean = 0.5 + (worse - better) / 2
    found = np.array([betting_p_value(row, mean, level) for row in values])
    for alpha in (0.01, 0.05, 0.1, 0.2, 0.5):
        slack = 3 * math.sqrt(alpha * (1 - alpha) / draws)
        assert (found <= alpha).mean() <= alpha + slack
    assert (found <= 0.5).any()  # it is a test at all


def test_clear_values_have_a_small_p_value_and_more_of_them_a_smaller_one() -> None:
    values = np.random.default_rng(0).choice([0.5, 0.0, 1.0], size=800, p=[0.9, 0.05, 0.05])
    few, many = (betting_p_value(values[:count], 0.55, 0.1) for count in (200, 800))
    assert many < few < 0.1
    assert many < 1e-3


def population(exits: int) -> ExitScores:
    """2000 images to draw from; leaving early at any threshold above 0.1 costs about 8 % of accuracy.

    Of each early exit's surest tenth, which is the same, all are wrong and 80 % right at the end. Beyond, its answers
    are better than the final exit's in a quarter of the images and worse in another.
    """
    kinds = 2000
    correct = np.zeros((exits, kinds), dtype=bool)
    final = np.zeros(kinds, dtype=bool)
    final[:160] = True
    final[200:] = np.tile([True, False, True, True], (kinds - 200) // 4)
    early = np.zeros(kinds, dtype=bool)
    early[200:] = np.tile([False, True, True, True], (kinds - 200) // 4)
    correct[:-1], correct[-1] = early, final
    uncertainty = np.empty((exits - 1, kinds))
    uncertainty[:] = np.arange(kinds) / kinds
    for index in range(1, exits - 1):  # later exits are unsure in another order, but for the tenth that is lost
        uncertainty[index, 200:] = np.random.default_rng(index).permutation(uncertainty[0, 200:])
    gflops = np.arange(1.0, exits + 1)
    return ExitScores(CRITERIA["entropy"], uncertainty, np.minimum.accumulate(uncertainty, axis=0), correct, gflops)


def all_or_nothing() -> ExitScores:
    """20 images to draw from; the first exit is equally sure of all: it loses 3 of them and gains 1."""
    final = np.array([True] * 14 + [False] * 6)
    early = np.array([False] * 3 + [True] * 11 + [True] + [False] * 5)
    uncertainty = np.zeros((1, 20))
    return ExitScores(CRITERIA["entropy"], uncertainty, uncertainty, np.stack([early, final]), np.array([1.0, 2.0]))


def many_exits() -> ExitScores:
    """2000 images to draw from; a threshold sends all to one of 20 exits, and 19 are wrong in 10 %, each in others.

    So there are many chances to certify too much: whoever goes on testing after a failure takes them.
    """
    correct = np.ones((20, 2000), dtype=bool)
    for index in range(19):
        correct[index] = np.random.default_rng(index).permutation(2000) >= 200
    uncertainty = np.repeat(np.arange(19.0, 0, -1)[:, None], 2000, axis=1)
    return ExitScores(CRITERIA["entropy"], uncertainty, uncertainty, correct, np.arange(1.0, 21))


def loss_of(scores: ExitScores, thresholds: tuple[float, ...]) -> float:
    return float(scores.correct[-1].mean()) - scores.operating_point(thresholds).accuracy


def test_the_populations_lose_what_they_are_said_to() -> None:
    for exits in (2, 3):
        everyone = population(exits)
        for threshold in (0.1, 0.3, 0.7, 1.0):
            assert loss_of(everyone, (threshold,) * (exits - 1)) == pytest.approx(0.08, abs=0.011)
    assert loss_of(all_or_nothing(), (1.0,)) == pytest.approx(0.1)
    for threshold in range(2, 21):
        assert loss_of(many_exits(), (threshold,) * 19) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("everyone", "max_loss", "confidence", "shared", "draws"),
    [
        (all_or_nothing(), 0.1 - 1e-9, 0.9, False, 300),
        (all_or_nothing(), 0.1 - 1e-9, 0.6, True, 300),
        (population(2), 0.079, 0.8, True, 300),
        (population(3), 0.07, 0.8, False, 150),
        (many_exits(), 0.1 - 1e-9, 0.9, True, 300),
    ],
    ids=["all or nothing", "all or nothing, less confident", "one early exit", "two early exits", "many exits"],
)
def test_over_draws_of_the_images_more_is_lost_than_promised_as_rarely_as_promised(
    everyone: ExitScores, max_loss: float, confidence: float, shared: bool, draws: int
) -> None:
    violations = 0
    for seed in range(draws):
        rows = np.random.default_rng(1000 + seed).integers(0, everyone.correct.shape[1], 300)
        chosen = risk_controlled(everyone.subset(rows), max_loss, confidence, shared=shared, seed=seed)
        violations += loss_of(everyone, chosen) > max_loss
    allowed = 1 - confidence
    assert violations <= draws * allowed + 3 * math.sqrt(draws * allowed * (1 - allowed))
    assert violations > 0  # an edge that is never crossed would test nothing


def easy_population() -> ExitScores:
    """1000 images to draw from; the first exit equals the final one in its surest 60 %, and is wrong in the others."""
    kinds = 1000
    final = np.arange(kinds) % 10 != 0
    early = final & (np.arange(kinds) < 600)
    uncertainty = np.arange(kinds)[None] / kinds
    return ExitScores(CRITERIA["entropy"], uncertainty, uncertainty, np.stack([early, final]), np.array([1.0, 4.0]))


@pytest.mark.parametrize("shared", [True, False])
def test_where_the_first_exit_is_as_good_for_most_images_much_is_saved(shared: bool) -> None:
    everyone = easy_population()
    violations = 0
    for seed in range(20):
        rows = np.random.default_rng(1000 + seed).integers(0, 1000, 1000)
        chosen = risk_controlled(everyone.subset(rows), 0.05, 0.9, shared=shared, seed=seed)
        assert everyone.operating_point(chosen).gflops < 2.2  # 4 without early exit; 2.2 where the 60 % leave
        violations += loss_of(everyone, chosen) > 0.05
    assert violations <= 20 * 0.1 + 3 * math.sqrt(20 * 0.1 * 0.9)


def test_what_is_certified_grows_with_the_loss_allowed_and_falls_with_the_confidence() -> None:
    scores = easy_population()
    cost = [
        scores.operating_point(risk_controlled(scores, max_loss, confidence)).gflops
        for max_loss, confidence in [(0.02, 0.99), (0.02, 0.9), (0.1, 0.9), (0.3, 0.9)]
    ]
    assert cost == sorted(cost, reverse=True)
    assert cost[0] > cost[-1] + 0.3


def test_where_the_first_exit_is_always_wrong_everything_runs() -> None:
    scores = easy_population()
    wrong = dataclasses.replace(scores, correct=np.stack([np.zeros(1000, dtype=bool), np.ones(1000, dtype=bool)]))
    chosen = risk_controlled(wrong, 0.05, 0.9)
    assert wrong.operating_point(chosen).gflops > 3.8
    never = dataclasses.replace(wrong, uncertainty=np.ones((1, 1000)), minima=np.ones((1, 1000)))
    assert risk_controlled(never, 0.05, 0.9) == (CRITERIA["entropy"].never_exit_threshold,)


def test_a_criterion_whose_large_scores_leave_gets_the_same_thresholds_turned_around() -> None:
    scores = population(3)
    turned = dataclasses.replace(scores, criterion=CRITERIA["patience"])
    below, above = (risk_controlled(each, 0.2, 0.9) for each in (scores, turned))
    np.testing.assert_array_equal(scores.exit_indices(below), turned.exit_indices(above))
    assert (scores.exit_indices(below) < 2).any()


def test_a_shared_threshold_is_one_for_all_exits_and_the_seed_decides_the_draw() -> None:
    scores = population(3)
    shared = risk_controlled(scores, 0.2, 0.9, shared=True)
    assert len(shared) == 2
    assert shared[0] == shared[1] > 0
    assert shared == risk_controlled(scores, 0.2, 0.9, shared=True)
    found = {risk_controlled(scores, 0.03, 0.9, shared=True, seed=seed) for seed in range(6)}
    assert len(found) > 1


def test_thresholds_of_each_exit_save_where_a_shared_one_cannot() -> None:
    # Exit 1 is the surest of all and always wrong; exit 2 is as good as the final one.
    final = np.arange(500) % 5 != 0
    uncertainty = np.repeat([[0.1], [0.5]], 500, axis=1)
    correct = np.stack([np.zeros(500, dtype=bool), final, final])
    scores = ExitScores(CRITERIA["entropy"], uncertainty, uncertainty[[0, 0]], correct, np.array([1.0, 2.0, 4.0]))
    shared, each = (scores.operating_point(risk_controlled(scores, 0.1, 0.9, shared=s)).gflops for s in (True, False))
    assert (shared, each) == (4.0, 2.0)


def test_a_network_without_early_exits_needs_no_thresholds() -> None:
    assert risk_controlled(score_outputs(random_outputs(0, 1, 500, 4), CRITERIA["entropy"]), 0.1, 0.9) == ()


@pytest.mark.parametrize("images", [1, 2, 10, 40])
def test_too_few_images_are_refused_with_a_way_out(images: int) -> None:
    scores = easy_population().subset(np.arange(images))
    with pytest.raises(UsageError) as caught:
        risk_controlled(scores, 0.01, 0.95)
    assert str(caught.value) == (
        f"{images} images are too few to certify a loss of at most 0.01 with confidence 0.95; "
        "set more aside (data.calibration_per_class), or ask for less"
    )


@given(small_outputs, st.sampled_from(sorted(CRITERIA)), st.lists(st.floats(0, 2), min_size=3, max_size=3))
def test_centred_thresholds_route_alike_and_lie_between_the_images_they_part(
    outputs: ExitOutputs, name: str, thresholds: list[float]
) -> None:
    scores = score_outputs(outputs, CRITERIA[name])
    given_thresholds = thresholds[: scores.num_exits - 1]
    moved = midpoint_thresholds(scores, given_thresholds)
    taken = scores.exit_indices(given_thresholds)
    assert scores.exit_indices(moved).tolist() == taken.tolist()
    for index, threshold in enumerate(moved):
        here = scores.uncertainty[index, taken >= index]
        gone, stay = here[taken[taken >= index] == index], here[taken[taken >= index] > index]
        if len(gone) and len(stay):
            limit = scores.criterion.uncertainty_limit(threshold)
            assert limit - gone.max() == pytest.approx(stay.min() - limit, abs=1e-12)
