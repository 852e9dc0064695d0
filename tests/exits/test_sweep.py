from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.errors import UsageError
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.ensemble import join_outputs
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import ExitScores, OperatingPoint, Sweep, score_outputs, sweep_all, sweep_thresholds
from tests.exits.helpers import random_outputs, routes, small_outputs

criteria = st.sampled_from(sorted(CRITERIA))


def thresholds_of_each_exit(outputs: ExitOutputs, name: str, random: np.random.Generator) -> list[float]:
    """For each early exit one of its own scores, or a number between them, so that ties are met."""
    scores = CRITERIA[name].uncertainty(outputs.logits)
    picked = [random.choice(np.append(row, row.mean())) for row in scores[:-1]]
    return [CRITERIA[name].threshold_of(float(each)) for each in picked]


@given(small_outputs, criteria, st.lists(st.floats(0, 2), min_size=1, max_size=5))
def test_a_sweep_equals_routing_every_image_by_hand(outputs: ExitOutputs, name: str, thresholds: list[float]) -> None:
    criterion = CRITERIA[name]
    swept = sweep_thresholds(score_outputs(outputs, criterion), thresholds)
    by_hand = routes(outputs, criterion, [[threshold] * (outputs.num_exits - 1) for threshold in thresholds])
    for threshold, taken, point in zip(thresholds, by_hand, swept.points(), strict=True):
        answers = [outputs.logits[e, i].argmax() for i, e in enumerate(taken)]
        shares = [taken.count(e) / len(taken) for e in range(outputs.num_exits)]
        assert point.accuracy == pytest.approx(np.mean(np.array(answers) == outputs.labels))
        assert point.exit_shares == pytest.approx(shares)
        assert point.gflops == pytest.approx(np.mean([outputs.gflops[e] for e in taken]))
        assert point.thresholds == (threshold,) * (outputs.num_exits - 1)


@given(small_outputs, criteria)
def test_all_points_are_exactly_the_distinct_routings(outputs: ExitOutputs, name: str) -> None:
    criterion = CRITERIA[name]
    early_exits = outputs.num_exits - 1
    swept = sweep_all(score_outputs(outputs, criterion)).thresholds
    found = [tuple(taken) for taken in routes(outputs, criterion, [[t] * early_exits for t in swept])]
    assert len(set(found)) == len(found)
    # Whatever happens between, at or beyond the scores themselves is among them.
    scores = np.unique(criterion.uncertainty(outputs.logits))
    limits = np.concatenate([scores, np.nextafter(scores, -np.inf), np.nextafter(scores, np.inf)])
    thresholds = criterion.threshold_of(limits)
    assert {tuple(taken) for taken in routes(outputs, criterion, [[t] * early_exits for t in thresholds])} <= set(found)


@given(small_outputs, criteria)
def test_the_first_of_all_points_never_leaves_early_and_costs_fall(outputs: ExitOutputs, name: str) -> None:
    points = sweep_all(score_outputs(outputs, CRITERIA[name]))
    assert points.thresholds[0] == CRITERIA[name].never_exit_threshold
    assert points.exit_shares[0, -1] == 1
    assert points.exit_shares[-1, 0] == 1
    assert (np.diff(points.gflops) < 0).all()
    assert np.isfinite(points.thresholds).all()


def test_an_image_whose_entropy_equals_the_threshold_stays() -> None:
    logits = np.zeros((2, 1, 4), dtype=np.float32)
    outputs = ExitOutputs(logits, np.array([0]), np.array([1.0, 2.0]))
    scores = score_outputs(outputs, CRITERIA["entropy"])
    exactly = float(scores.minima[0, 0])
    stays, leaves = sweep_thresholds(scores, [exactly, np.nextafter(exactly, 10)]).points()
    assert stays.exit_shares == (0, 1)
    assert leaves.exit_shares == (1, 0)


def test_the_order_of_the_thresholds_asked_for_is_kept() -> None:
    scores = score_outputs(random_outputs(0, 3, 50, 4), CRITERIA["entropy"])
    assert sweep_thresholds(scores, [1.0, 0.0, 0.5]).thresholds.tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize("thresholds", [[], [float("nan")]])
def test_no_threshold_and_nan_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(UsageError, match="thresholds must be numbers"):
        sweep_thresholds(score_outputs(random_outputs(0, 2, 5, 3), CRITERIA["entropy"]), thresholds)


@given(small_outputs, criteria, st.integers(0, 2**31))
def test_thresholds_of_each_exit_send_images_where_routing_by_hand_does(
    outputs: ExitOutputs, name: str, seed: int
) -> None:
    thresholds = thresholds_of_each_exit(outputs, name, np.random.default_rng(seed))
    taken = routes(outputs, CRITERIA[name], [thresholds])[0]
    scores = score_outputs(outputs, CRITERIA[name])
    assert scores.exit_indices(thresholds).tolist() == taken
    point = scores.operating_point(thresholds)
    answers = [outputs.logits[e, i].argmax() for i, e in enumerate(taken)]
    assert point.thresholds == tuple(thresholds)
    assert point.accuracy == pytest.approx(np.mean(np.array(answers) == outputs.labels))
    assert point.exit_shares == pytest.approx([taken.count(e) / len(taken) for e in range(outputs.num_exits)])
    assert point.gflops == pytest.approx(np.mean([outputs.gflops[e] for e in taken]))


def test_an_image_leaves_at_the_first_exit_below_its_own_threshold_by_hand() -> None:
    scores = ExitScores(
        CRITERIA["entropy"],
        uncertainty=np.array([[0.1, 0.5, 0.5, 0.2], [0.9, 0.3, 0.8, 0.3]]),
        minima=np.array([[0.1, 0.5, 0.5, 0.2], [0.1, 0.3, 0.5, 0.2]]),
        correct=np.array([[True, True, True, False], [False, False, True, False], [False, True, False, True]]),
        gflops=np.array([1.0, 2.0, 4.0]),
    )
    # Image 1's 0.5 is not below exit 1's 0.5; image 2 is never sure enough.
    assert scores.exit_indices([0.5, 0.4]).tolist() == [0, 1, 2, 0]
    assert scores.operating_point([0.5, 0.4]) == OperatingPoint((0.5, 0.4), 0.25, (0.5, 0.25, 0.25), 2.0)
    # Exit 2's generous threshold takes what exit 1's strict one passes on.
    assert scores.exit_indices([0.15, 1.0]).tolist() == [0, 1, 1, 1]
    assert scores.operating_point([0.15, 1.0]).accuracy == 0.5


def test_without_early_exits_every_image_takes_the_only_one() -> None:
    outputs = random_outputs(0, 1, 20, 3)
    point = score_outputs(outputs, CRITERIA["margin"]).operating_point(())
    assert (point.thresholds, point.exit_shares) == ((), (1.0,))
    assert point.accuracy == pytest.approx(outputs.exit_accuracies()[0])


@given(small_outputs, criteria, st.integers(0, 2**31))
def test_a_subset_equals_the_scores_of_those_images_alone(outputs: ExitOutputs, name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(outputs.labels), random.integers(1, 20))  # repeated, and in any order
    alone = score_outputs(ExitOutputs(outputs.logits[:, rows], outputs.labels[rows], outputs.gflops), CRITERIA[name])
    found = score_outputs(outputs, CRITERIA[name]).subset(rows)
    # Vectorised softmax may round by where in the array an image lies.
    np.testing.assert_allclose(found.uncertainty, alone.uncertainty, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.minima, alone.minima, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.correct, alone.correct)
    np.testing.assert_array_equal(found.gflops, alone.gflops)
    assert found.criterion is alone.criterion


@given(small_outputs, criteria, st.lists(st.floats(0.1, 10), min_size=4, max_size=4))
def test_temperatures_divide_the_logits_of_their_own_exit(
    outputs: ExitOutputs, name: str, temperatures: list[float]
) -> None:
    chosen = temperatures[: outputs.num_exits]
    divided = np.stack([logits / np.float32(t) for logits, t in zip(outputs.logits, chosen, strict=True)])
    expected = CRITERIA[name].uncertainty(divided)[:-1]
    found = score_outputs(join_outputs(outputs, chosen, None), CRITERIA[name])
    np.testing.assert_array_equal(found.uncertainty, expected)
    for index, minima in enumerate(found.minima):
        np.testing.assert_array_equal(minima, expected[: index + 1].min(axis=0))
    np.testing.assert_array_equal(found.correct, outputs.correct())


def test_a_temperature_of_two_takes_the_root_of_the_odds() -> None:
    logits = np.log(np.array([[[0.64, 0.36]], [[0.5, 0.5]]], dtype=np.float32))
    outputs = ExitOutputs(logits, np.array([0]), np.array([1.0, 2.0]))
    found = score_outputs(join_outputs(outputs, (2.0, 1.0), None), CRITERIA["max_probability"])
    assert found.uncertainty.item() == pytest.approx(-0.8 / (0.8 + 0.6))


@pytest.mark.parametrize("name", CRITERIA)
def test_no_temperatures_are_temperatures_of_one_and_the_last_one_changes_nothing(name: str) -> None:
    outputs = random_outputs(3, 3, 40, 5)
    plain = score_outputs(outputs, CRITERIA[name])
    for temperatures in [(1.0, 1.0, 1.0), (1.0, 1.0, 7.0)]:
        found = score_outputs(join_outputs(outputs, temperatures, None), CRITERIA[name])
        np.testing.assert_array_equal(found.uncertainty, plain.uncertainty)
    hotter = score_outputs(join_outputs(outputs, (1.0, 7.0, 1.0), None), CRITERIA[name])
    assert (hotter.uncertainty[1] == plain.uncertainty[1]).all() == (name == "patience")


@pytest.mark.parametrize(
    ("shares", "accuracy", "gflops"),
    [
        ((1.5, -0.5), 0.5, 1.0),
        ((0.5, 0.4), 0.5, 1.0),
        ((float("nan"), 1.0), 0.5, 1.0),
        ((0.5, 0.5), 1.1, 1.0),
        ((0.5, 0.5), float("nan"), 1.0),
        ((0.5, 0.5), 0.5, -1.0),
        ((0.5, 0.5), 0.5, float("inf")),
    ],
)
def test_operating_points_that_cannot_be_are_none(shares: tuple[float, float], accuracy: float, gflops: float) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        OperatingPoint((0.5,), accuracy, shares, gflops)
    with pytest.raises(ValueError, match="sum to 1"):
        Sweep(
            np.array([0.5, 0.5]),
            np.array([0.5, accuracy]),
            np.array([[0.5, 0.5], shares]),
            np.array([1.0, gflops]),
        )


def test_scores_that_are_no_numbers_are_refused() -> None:
    logits = np.array([[[np.nan, 0.0]]], dtype=np.float32)
    uncertainty = CRITERIA["entropy"].uncertainty(logits)
    with pytest.raises(ValueError, match="not a number"):
        ExitScores(CRITERIA["entropy"], uncertainty, uncertainty, np.ones((2, 1), dtype=bool), np.array([1.0, 2.0]))
