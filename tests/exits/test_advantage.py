"""Whether early exit pays: rarely said where scores mean nothing, though the best of all thresholds is looked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from greenedge.exits.baselines import FixedExits, FoundAdvantage, find_advantage
from greenedge.exits.bootstrap import bootstrap_points, bootstrap_weights
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.sweep import ExitScores, sweep_all

GFLOPS = np.array([1.0, 2.0, 3.0, 4.0])  # no head costs anything, so that exits alone cost the same


def scores(images: int, seed: int, telling: float) -> ExitScores:
    """Four exits, right in 60 to 75 %; `telling` 0: their scores are noise; 1: the surest are always right."""
    random = np.random.default_rng(seed)
    difficulty = random.random(images)
    noise = random.random((3, images))
    correct = difficulty < np.array([0.6, 0.66, 0.71, 0.75])[:, None]
    uncertainty = telling * difficulty + (1 - telling) * noise
    return ExitScores(CRITERIA["entropy"], uncertainty, np.minimum.accumulate(uncertainty, axis=0), correct, GFLOPS)


def found(each: ExitScores, seed: int) -> FoundAdvantage:
    shares = bootstrap_weights(each.correct.shape[1], 300, seed)
    curve = sweep_all(each)
    some = curve.rows(curve.spread(60))
    thresholds = [(threshold,) * 3 for threshold in some.thresholds.tolist()]
    fixed = FixedExits(GFLOPS, each.correct.mean(axis=1), shares @ each.correct.T.astype(np.float32))
    return find_advantage(curve, some, bootstrap_points(each, thresholds, shares), fixed)


@pytest.mark.parametrize(("images", "draws"), [(1000, 60), (10_000, 12)])
def test_scores_that_mean_nothing_pay_in_at_most_a_twentieth_of_draws(images: int, draws: int) -> None:
    pays = looks_as_if = 0
    for seed in range(draws):
        advantage = found(scores(images, seed, telling=0), seed)
        pays += advantage.pays
        looks_as_if += advantage.largest.accuracy > 0
    assert pays <= 0.05 * draws + 2 * math.sqrt(0.05 * 0.95 * draws)
    assert looks_as_if > draws / 2  # without an interval most draws would say so


@pytest.mark.parametrize("images", [500, 2000])
def test_scores_that_tell_easy_from_hard_pay(images: int) -> None:
    for seed in range(8):
        advantage = found(scores(images, seed, telling=0.8), seed)
        assert advantage.pays
        assert advantage.interval is not None
        assert 0 < advantage.interval.low <= advantage.largest.accuracy <= advantage.interval.high


def test_the_advantage_of_a_large_population_lies_within_the_interval() -> None:
    truth = found(scores(100_000, 99, telling=0.8), 0).largest.accuracy
    inside = 0
    for seed in range(40):
        interval = found(scores(1000, seed, telling=0.8), seed).interval
        assert interval is not None
        inside += interval.low <= truth <= interval.high
    assert inside >= 36


def test_a_network_without_early_exits_has_no_advantage_to_tell() -> None:
    each = scores(100, 0, telling=1)
    plain = ExitScores(each.criterion, each.uncertainty[:0], each.minima[:0], each.correct[-1:], GFLOPS[-1:])
    curve = sweep_all(plain)
    shares = bootstrap_weights(100, 10)
    fixed = FixedExits(GFLOPS[-1:], plain.correct.mean(axis=1), shares @ plain.correct.T.astype(np.float32))
    advantage = find_advantage(curve, curve, bootstrap_points(plain, [()], shares), fixed)
    assert (advantage.interval, advantage.pays) == (None, False)
