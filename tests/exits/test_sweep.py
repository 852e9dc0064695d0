from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.errors import UsageError
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import score_outputs, sweep_all, sweep_thresholds
from tests.exits.helpers import random_outputs, route, small_outputs

criteria = st.sampled_from(sorted(CRITERIA))


@given(small_outputs, criteria, st.lists(st.floats(0, 2), min_size=1, max_size=5))
def test_a_sweep_equals_routing_every_image_by_hand(outputs: ExitOutputs, name: str, thresholds: list[float]) -> None:
    criterion = CRITERIA[name]
    swept = sweep_thresholds(score_outputs(outputs, criterion), thresholds)
    for threshold, point in zip(thresholds, swept.points(), strict=True):
        taken = route(outputs, criterion, threshold)
        answers = [outputs.logits[e, i].argmax() for i, e in enumerate(taken)]
        shares = [taken.count(e) / len(taken) for e in range(outputs.num_exits)]
        assert point.accuracy == pytest.approx(np.mean(np.array(answers) == outputs.labels))
        assert point.exit_shares == pytest.approx(shares)
        assert point.gflops == pytest.approx(np.mean([outputs.gflops[e] for e in taken]))
        assert point.thresholds == (threshold,) * (outputs.num_exits - 1)


@given(small_outputs, criteria)
def test_all_points_are_exactly_the_distinct_routings(outputs: ExitOutputs, name: str) -> None:
    criterion = CRITERIA[name]
    found = [tuple(route(outputs, criterion, t)) for t in sweep_all(score_outputs(outputs, criterion)).thresholds]
    assert len(set(found)) == len(found)
    # Whatever happens between, at or beyond the scores themselves is among them.
    scores = np.unique(criterion.uncertainty(outputs.logits).astype(np.float64))
    limits = np.concatenate([scores, np.nextafter(scores, -np.inf), np.nextafter(scores, np.inf)])
    thresholds = limits if criterion.leaves_below else -limits
    assert {tuple(route(outputs, criterion, t)) for t in thresholds} <= set(found)


@given(small_outputs, criteria)
def test_the_first_of_all_points_never_leaves_early_and_costs_fall(outputs: ExitOutputs, name: str) -> None:
    points = sweep_all(score_outputs(outputs, CRITERIA[name]))
    assert points.thresholds[0] == CRITERIA[name].never
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
