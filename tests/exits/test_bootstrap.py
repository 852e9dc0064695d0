from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.exits.bootstrap import (
    Interval,
    ResampledCurve,
    accuracy_interval,
    bootstrap_points,
    bootstrap_weights,
    difference_interval,
    interval,
)
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import ExitScores, score_outputs, sweep_all
from tests.exits.helpers import random_outputs, small_outputs


def drawn(shares: np.ndarray) -> np.ndarray:
    """The images of one resample themselves, as often as they were drawn."""
    counts = np.rint(shares.astype(np.float64) * len(shares)).astype(np.int64)
    return np.repeat(np.arange(len(shares)), counts)


def example(exits: int = 3, images: int = 60) -> tuple[ExitScores, list[list[float]]]:
    scores = score_outputs(random_outputs(5, exits, images, 4), CRITERIA["entropy"])
    random = np.random.default_rng(0)
    return scores, random.uniform(0, 1.5, size=(7, exits - 1)).tolist()


@pytest.mark.parametrize("images", [1, 7, 50])
def test_a_resample_draws_as_many_images_as_there_are(images: int) -> None:
    shares = bootstrap_weights(images, resamples=40)
    assert (shares.shape, shares.dtype) == ((40, images), np.float32)
    counts = shares.astype(np.float64) * images
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-5)
    assert (counts >= 0).all()
    np.testing.assert_allclose(counts.sum(axis=1), images, rtol=1e-6)
    assert all(len(drawn(row)) == images for row in shares)


def test_images_are_drawn_with_replacement_and_all_alike() -> None:
    counts = bootstrap_weights(20, resamples=4000).astype(np.float64) * 20
    # Of a multinomial: mean 1, variance 1 - 1/N, covariance -1/N. Four standard errors.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=4 / np.sqrt(4000))
    covariance = np.cov(counts.T)
    np.testing.assert_allclose(covariance.diagonal(), 0.95, atol=0.15)
    np.testing.assert_allclose(covariance[~np.eye(20, dtype=bool)], -0.05, atol=4 / np.sqrt(4000))
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 20) ** 20, abs=0.01)


def test_the_seed_decides_the_resamples() -> None:
    np.testing.assert_array_equal(bootstrap_weights(30, 5), bootstrap_weights(30, 5, seed=0))
    assert (bootstrap_weights(30, 5, seed=0) != bootstrap_weights(30, 5, seed=1)).any()
    rows = bootstrap_weights(30, 5)
    assert len(np.unique(rows, axis=0)) == 5
    assert len(bootstrap_weights(3)) == 1000


@given(small_outputs, st.sampled_from(sorted(CRITERIA)), st.integers(0, 1000))
def test_resampled_points_are_those_of_the_drawn_images_themselves(outputs: ExitOutputs, name: str, seed: int) -> None:
    scores = score_outputs(outputs, CRITERIA[name])
    thresholds = np.random.default_rng(seed).uniform(0, 3, size=(3, outputs.num_exits - 1)).tolist()
    shares = bootstrap_weights(len(outputs.labels), 4, seed)
    curve = bootstrap_points(scores, thresholds, shares)
    assert curve.accuracy.shape == curve.gflops.shape == (4, 3)
    for b, row in enumerate(shares):
        images = scores.subset(drawn(row))
        for p, each in enumerate(thresholds):
            point = images.operating_point(each)
            assert curve.accuracy[b, p] == pytest.approx(point.accuracy, abs=1e-5)
            assert curve.gflops[b, p] == pytest.approx(point.gflops, rel=1e-5)


def test_areas_are_those_of_the_drawn_images_written_out() -> None:
    scores, thresholds = example()
    shares = bootstrap_weights(60, 20)
    curve = bootstrap_points(scores, thresholds, shares)
    reference = float(scores.gflops[-1])
    trapezoids, dominated = curve.trapezoid_areas(), curve.dominated_areas(reference)
    assert len(trapezoids) == len(dominated) == 20
    fine = (np.arange(50_000) + 0.5) / 50_000 * reference
    for b, row in enumerate(shares):
        points = [scores.subset(drawn(row)).operating_point(each) for each in thresholds]
        pairs = sorted((point.gflops, 100 * point.accuracy) for point in points)
        by_hand = sum((g1 - g0) * (a0 + a1) / 2 for (g0, a0), (g1, a1) in itertools.pairwise(pairs))
        assert trapezoids[b] == pytest.approx(by_hand, rel=1e-4)
        best = np.max([np.where(fine >= g, a, 0) for g, a in pairs], axis=0)
        assert dominated[b] == pytest.approx(best.mean() * reference, rel=1e-3)
    assert dominated.std() > 0


def test_points_dearer_than_the_reference_cost_dominate_nothing() -> None:
    curve = ResampledCurve(np.array([[0.5, 0.75]], dtype=np.float32), np.array([[1.0, 3.0]], dtype=np.float32))
    assert curve.dominated_areas(2.0).tolist() == [50]
    assert curve.dominated_areas(4.0).tolist() == [2 * 50 + 75]
    assert curve.dominated_areas(0.5).tolist() == [0]


@given(
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
)
def test_the_accuracy_at_a_cost_is_the_best_of_what_costs_no_more(seed: int, points: int, asked: list[int]) -> None:
    random = np.random.default_rng(seed)
    gflops = random.integers(1, 33, (3, points)) / 8
    accuracy = random.integers(0, 9, (3, points)) / 8
    costs = np.sort(asked) / 8
    found = ResampledCurve(accuracy.astype(np.float32), gflops.astype(np.float32)).at_costs(costs)
    for b, g in np.ndindex(found.shape):
        inside = [accuracy[b, p] for p in range(points) if gflops[b, p] <= costs[g]]
        np.testing.assert_equal(found[b, g], max(inside) if inside else np.nan)
    assert found.shape == (3, len(costs))


@pytest.mark.parametrize("exits", [2, 3])
def test_leaving_at_the_first_exit_costs_what_it_costs_on_every_resample(exits: int) -> None:
    scores, _ = example(exits, 50)
    everything_leaves = [sweep_all(scores).thresholds[-1]] * (exits - 1)
    for cost in np.linspace(0.1, 0.9, 9):
        cheap = ExitScores(scores.criterion, scores.uncertainty, scores.minima, scores.correct, scores.gflops + cost)
        curve = bootstrap_points(cheap, [everything_leaves], bootstrap_weights(50, 50))
        assert np.isfinite(curve.at_costs(cheap.gflops[:1])).all()


def test_the_interval_is_that_of_percentiles() -> None:
    assert interval(np.arange(101.0), 0.9) == Interval(pytest.approx(5), pytest.approx(95))
    values = np.random.default_rng(0).normal(size=333)
    found = interval(values)
    assert [found.low, found.high] == pytest.approx(np.percentile(values, [2.5, 97.5]).tolist())
    found = interval(values, 0.5)
    assert [found.low, found.high] == pytest.approx(np.percentile(values, [25, 75]).tolist())


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    # An endless supply of images: half leave at exit 1, which is right in 60 % of those, the final exit in 90 %.
    truth_accuracy, truth_gflops, images, draws = 0.5 * 0.6 + 0.5 * 0.9, 1.5, 200, 300
    random = np.random.default_rng(3)
    covered = np.zeros((draws, 2), dtype=bool)
    for draw in range(draws):
        uncertainty = random.uniform(size=(1, images))
        correct = random.uniform(size=(2, images)) < [[0.6], [0.9]]
        scores = ExitScores(CRITERIA["entropy"], uncertainty, uncertainty, correct, np.array([1.0, 2.0]))
        curve = bootstrap_points(scores, [[0.5]], bootstrap_weights(images, 200, seed=10_000 + draw))
        for column, (values, truth) in enumerate(((curve.accuracy, truth_accuracy), (curve.gflops, truth_gflops))):
            found = interval(values[:, 0], 0.9)
            covered[draw, column] = found.low <= truth <= found.high
    # 90 %, less what percentile intervals of 200 images and 200 resamples lack; four standard errors are 7 %.
    assert ((covered.mean(axis=0) > 0.83) & (covered.mean(axis=0) < 0.95)).all()


def test_the_same_resamples_make_a_comparison_a_paired_one() -> None:
    random = np.random.default_rng(0)
    first = random.uniform(size=(1, 400)) < 0.7
    second = first ^ (random.uniform(size=(1, 400)) < 0.02)  # another network, which differs in few images
    networks = [
        ExitScores(CRITERIA["entropy"], np.zeros((0, 400)), np.zeros((0, 400)), correct, np.array([1.0]))
        for correct in (first, second)
    ]
    shares, others = bootstrap_weights(400, 500), bootstrap_weights(400, 500, seed=1)
    one, two = (bootstrap_points(each, [[]], shares).accuracy[:, 0] for each in networks)
    unpaired = bootstrap_points(networks[1], [[]], others).accuracy[:, 0]
    truth = second.mean() - first.mean()
    assert (two - one).mean() == pytest.approx(truth, abs=0.002)
    assert (two - one).std() == pytest.approx(np.std(second.astype(float) - first) / 20, rel=0.15)
    assert (two - one).std() < 0.4 * (unpaired - one).std()


@pytest.mark.parametrize(("right", "images"), [(50, 50), (0, 50), (3, 18), (995, 1000), (1, 1)])
def test_an_accuracy_of_few_or_of_one_kind_has_wilsons_interval(right: int, images: int) -> None:
    """The ends p solve (right/images - p)^2 = z^2 p (1 - p) / images (Wilson 1927)."""
    accuracy = right / images
    found = accuracy_interval(accuracy, images, np.full(1000, accuracy))
    assert 0 <= found.low < found.high <= 1
    for end in (found.low, found.high):
        if 0 < end < 1:
            assert (accuracy - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / images, rel=1e-5)
    assert (found.high == pytest.approx(1)) == (right == images)


def test_an_accuracy_of_many_has_the_interval_of_its_resamples() -> None:
    resampled = np.random.default_rng(0).normal(0.5, 0.01, 1000)
    assert accuracy_interval(0.5, 1000, resampled) == interval(resampled)


def test_a_difference_that_no_image_shows_is_not_certain() -> None:
    """With 95 % confidence up to 1 - 0.025^(1/100), 3.6 %, of other images could be of a kind that is not here."""
    found = difference_interval(np.zeros(1000), 100)
    assert (found.low, found.high) == (pytest.approx(-0.03622, abs=1e-5), pytest.approx(0.03622, abs=1e-5))
