"""How often `risk_controlled` certifies something, and how often too much, over draws of 200 images of many."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.sweep import ExitScores, score_outputs
from greenedge.exits.tuning import risk_controlled
from tests.exits.helpers import graded_outputs, shuffled_scores, with_uncertainty

MAX_LOSS, CONFIDENCE, IMAGES = 0.05, 0.95, 200


@pytest.fixture(scope="module")
def graded() -> ExitScores:
    return score_outputs(graded_outputs(), CRITERIA["entropy"])


def as_it_is(scores: ExitScores) -> ExitScores:
    return scores


def reversed_scores(scores: ExitScores) -> ExitScores:
    return with_uncertainty(scores, math.log(10) - scores.uncertainty)


def first_exit_sure_and_wrong(scores: ExitScores) -> ExitScores:
    uncertainty, correct = scores.uncertainty.copy(), scores.correct.copy()
    uncertainty[0] /= 100
    correct[0] = False
    return dataclasses.replace(with_uncertainty(scores, uncertainty), correct=correct)


def surest_tenth_wrong(scores: ExitScores) -> ExitScores:
    uncertainty, correct = scores.uncertainty.copy(), scores.correct.copy()
    surest = np.random.default_rng(3).random(correct.shape[1]) < 0.1
    uncertainty[:, surest] /= 1000
    correct[:-1, surest] = False
    return dataclasses.replace(with_uncertainty(scores, uncertainty), correct=correct)


def at_the_edge(scores: ExitScores) -> ExitScores:
    """Any early exit loses a little more than is allowed, whatever the threshold."""
    final = scores.correct[-1]
    early = final & (np.random.default_rng(4).random(len(final)) > 1.04 * MAX_LOSS / final.mean())
    everyone_sure = with_uncertainty(scores, np.zeros_like(scores.uncertainty))
    return dataclasses.replace(everyone_sure, correct=np.stack([early] * (scores.num_exits - 1) + [final]))


def certified(everyone: ExitScores, draws: int, *, shared: bool) -> tuple[float, float, float]:
    """Shares of the draws in which something early is certified, and in which too much is; the mean cost."""
    final, full = everyone.correct[-1].mean(), everyone.gflops[-1]
    early = violations = 0
    costs = []
    for seed in range(draws):
        rows = np.random.default_rng(1000 + seed).integers(0, everyone.correct.shape[1], IMAGES)
        point = everyone.operating_point(
            risk_controlled(everyone.subset(rows), MAX_LOSS, CONFIDENCE, shared=shared, seed=seed)
        )
        early += point.gflops < 0.99 * full
        violations += final - point.accuracy > MAX_LOSS
        costs.append(point.gflops)
    return early / draws, violations / draws, float(np.mean(costs))


def allowed(draws: int) -> float:
    """Of violations, with three standard errors."""
    risk = 1 - CONFIDENCE
    return risk + 3 * math.sqrt(risk * CONFIDENCE / draws)


def test_the_population_is_like_the_quickstarts_network() -> None:
    outputs = graded_outputs()
    np.testing.assert_allclose(outputs.exit_accuracies(), [0.81, 0.896, 0.922, 0.914], atol=0.011)


@pytest.mark.parametrize("shared", [True, False])
def test_something_is_certified_in_nearly_every_draw_and_too_much_rarely(graded: ExitScores, shared: bool) -> None:
    early, violations, cost = certified(graded, 120, shared=shared)
    assert early >= 0.9
    assert violations <= allowed(120)
    assert cost < 0.6 * graded.gflops[-1]


KINDS = [shuffled_scores, reversed_scores, first_exit_sure_and_wrong, surest_tenth_wrong, at_the_edge]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_certificate_holds_whatever_the_scores_are(
    graded: ExitScores, kind: Callable[[ExitScores], ExitScores], shared: bool
) -> None:
    assert certified(kind(graded), 60, shared=shared)[1] <= allowed(60)


def test_thresholds_of_each_exit_get_around_an_exit_that_is_sure_and_wrong(graded: ExitScores) -> None:
    everyone = first_exit_sure_and_wrong(graded)
    shared, each = (certified(everyone, 60, shared=shared)[2] for shared in (True, False))
    assert each < 0.9 * shared


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", [as_it_is, *KINDS])
def test_over_many_draws_too_much_is_certified_in_at_most_a_twentieth(
    graded: ExitScores, kind: Callable[[ExitScores], ExitScores], shared: bool
) -> None:
    early, violations, _ = certified(kind(graded), 500 if shared else 250, shared=shared)
    assert violations <= 1 - CONFIDENCE
    assert early >= 0.9 or kind is not as_it_is
