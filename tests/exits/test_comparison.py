from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from greenedge.exits.bootstrap import bootstrap_weights
from greenedge.exits.comparison import Pair, compare_pairs, resample_network
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import ExitScores, score_outputs

GFLOPS = np.array([0.05, 0.09, 0.15])


def networks(count: int, images: int, seed: int, better: float = 0.0) -> list[ExitScores]:
    """Networks of equal skill on the same images, less the last one, which sees `better` more."""
    random = np.random.default_rng(seed)
    labels, difficulty = random.integers(0, 5, images), random.normal(size=images)
    found = []
    for place in range(count):
        logits = random.normal(size=(3, images, 5))
        skill = np.array([1.2, 1.8, 2.3]) + (better if place == count - 1 else 0.0)
        logits[:, np.arange(images), labels] += np.maximum(0, skill[:, None] - difficulty)
        found.append(score_outputs(ExitOutputs(logits.astype(np.float32), labels, GFLOPS), CRITERIA["entropy"]))
    return found


def compared(scores: list[ExitScores], resamples: int = 400, seed: int = 0) -> list[Pair]:
    shares = bootstrap_weights(scores[0].correct.shape[1], resamples, seed)
    return compare_pairs([resample_network(each, shares) for each in scores], float(GFLOPS[-1]))


def real(pairs: list[Pair]) -> bool:
    return any(pair.accuracy.real or pair.dominated_area.real for pair in pairs)


def test_eight_equal_networks_are_told_apart_in_at_most_a_twentieth_of_draws() -> None:
    draws = 100
    false = sum(real(compared(networks(8, 500, seed), 300, seed)) for seed in range(draws))
    assert false <= draws * 0.05 + 2 * math.sqrt(draws * 0.05 * 0.95)


def test_what_each_pair_would_say_alone_is_wrong_far_more_often() -> None:
    draws = 20
    false = 0
    for seed in range(draws):
        pairs = compared(networks(8, 500, seed), 300, seed)
        ends = [each.interval for pair in pairs for each in (pair.accuracy, pair.dominated_area)]
        false += any(not each.low <= 0 <= each.high for each in ends)
    assert false > draws / 4


def test_a_network_that_is_better_is_told_from_all_others_and_they_from_none() -> None:
    pairs = compared(networks(8, 2000, seed=1, better=0.8))
    for pair in pairs:
        assert pair.accuracy.real == (pair.second == 7)
        assert pair.dominated_area.real == (pair.second == 7)
        if pair.second == 7:
            assert pair.accuracy.joint_interval.high < 0


def test_joint_intervals_contain_those_of_one_pair_alone() -> None:
    for pair in compared(networks(4, 300, seed=2)):
        for each in (pair.accuracy, pair.dominated_area):
            assert each.joint_interval.low <= each.interval.low <= each.value <= each.interval.high
            assert each.interval.high <= each.joint_interval.high


def test_all_pairs_come_in_order() -> None:
    pairs = [(pair.first, pair.second) for pair in compared(networks(4, 100, seed=3), 50)]
    assert pairs == list(itertools.combinations(range(4), 2))


def test_one_network_given_twice_has_no_difference_at_all() -> None:
    (scores,) = networks(1, 200, seed=4)
    (pair,) = compared([scores, scores])
    for each in (pair.accuracy, pair.dominated_area):
        assert (each.value, each.interval.low, each.interval.high, each.real) == (0, 0, 0, False)


@pytest.mark.parametrize("images", [50, 400])
def test_networks_that_are_right_on_the_same_images_may_still_differ_on_others(images: int) -> None:
    first, second = networks(2, images, seed=5)
    second = dataclasses.replace(second, correct=first.correct)
    (pair,) = compared([first, second])
    # With two differences looked at, each is given a fortieth, half of it on either side.
    expected = 1 - (0.0125) ** (1 / images)
    assert pair.accuracy.joint_interval.low == pytest.approx(-expected)
    assert pair.accuracy.joint_interval.high == pytest.approx(expected)
    assert not pair.accuracy.real


@pytest.mark.parametrize(("images", "told"), [(3, False), (200, True)])
def test_always_right_against_always_wrong_is_told_by_images_enough(images: int, told: bool) -> None:
    first, second = networks(2, images, seed=6)
    first = dataclasses.replace(first, correct=np.ones_like(first.correct))
    second = dataclasses.replace(second, correct=np.zeros_like(second.correct))
    (pair,) = compared([first, second])
    assert (pair.accuracy.real, pair.accuracy.value) == (told, 1)
