"""A threshold means the same to the engine and to the arithmetic on kept outputs, at the threshold itself too.

What the engine runs of a batch after some images have exited is a smaller batch, whose scores may differ by a rounding;
so its exits are compared where the whole batch arrives.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from greenedge.exits.frontier import pareto_frontier, shared_frontier
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import shared_policy
from greenedge.exits.sweep import ExitScores, score_outputs, sweep_all, sweep_thresholds
from greenedge.exits.tuning import midpoint_thresholds
from greenedge.inference import Engine
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import CRITERION_NAMES, policy_of


@pytest.fixture(scope="module")
def engine(network: MultiExitNetwork, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return Engine(network, shared_policy("entropy", None, 2), precision="float32")


@pytest.fixture(scope="module")
def outputs(engine: Engine, images: Tensor) -> ExitOutputs:
    """What the engine itself gives, so that its scores are these to the bit."""
    labels = torch.arange(len(images)).remainder(3).numpy()
    return ExitOutputs(engine.logits(images).numpy(), labels, engine.network.gflops.numpy())


def expected_exits(scores: ExitScores, limits: tuple[float, ...]) -> list[int]:
    """One image at a time, with Python's own floats."""
    columns = scores.uncertainty.T.tolist()
    return [next((e for e, limit in enumerate(limits) if column[e] < limit), len(limits)) for column in columns]


@pytest.mark.parametrize("exit_index", [0, 1])
@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_all_decide_alike_exactly_at_a_threshold(
    engine: Engine, outputs: ExitOutputs, images: Tensor, name: str, exit_index: int
) -> None:
    criterion = policy_of(name, (0.0, 0.0)).get_criterion()
    scores = score_outputs(outputs, criterion)
    uncertainty = scores.uncertainty[exit_index]
    image = int(np.argsort(uncertainty)[len(uncertainty) // 2])
    exactly = float(uncertainty[image])
    never = criterion.uncertainty_limit(criterion.never_exit_threshold)
    found = []
    for limit in (np.nextafter(exactly, -np.inf), exactly, np.nextafter(exactly, np.inf)):
        limits = (float(limit), never) if exit_index == 0 else (never, float(limit))
        expected = expected_exits(scores, limits)
        policy = policy_of(name, tuple(map(criterion.threshold_of, limits)))
        engine.policy = policy
        assert policy.uncertainty_limits == limits
        assert engine.predict(images).exits.tolist() == expected
        assert scores.exit_indices(policy.thresholds).tolist() == expected
        assert scores.exit_indices(midpoint_thresholds(scores, policy.thresholds)).tolist() == expected
        found.append(expected[image])
    assert found == [2, 2, exit_index]


@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_shared_thresholds_decide_alike_exactly_at_every_score(
    engine: Engine, outputs: ExitOutputs, images: Tensor, name: str
) -> None:
    criterion = policy_of(name, (0.0, 0.0)).get_criterion()
    scores = score_outputs(outputs, criterion)
    values = np.unique(scores.uncertainty)[::4]
    limits = np.concatenate([values, np.nextafter(values, np.inf)])
    swept = sweep_thresholds(scores, criterion.threshold_of(limits))
    for limit, point in zip(limits.tolist(), swept.points(), strict=True):
        expected = expected_exits(scores, (limit, limit))
        engine.policy = policy_of(name, point.thresholds)
        assert (engine.predict(images).exits == 0).tolist() == [index == 0 for index in expected]
        shares = np.bincount(expected, minlength=3) / len(expected)
        assert point.exit_shares == pytest.approx(shares.tolist())
        assert scores.operating_point(point.thresholds).exit_shares == point.exit_shares


@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_the_points_of_curves_and_frontiers_are_what_the_engine_does(
    engine: Engine, outputs: ExitOutputs, images: Tensor, name: str
) -> None:
    """Their thresholds are images' own scores, so nearly every one of them lies exactly at a score."""
    scores = score_outputs(outputs, policy_of(name, (0.0, 0.0)).get_criterion())
    curve = sweep_all(scores)
    points = [(point.thresholds, point.accuracy, point.gflops) for point in curve.points()]
    for front in (pareto_frontier(scores), shared_frontier(scores)):
        columns = (front.thresholds.tolist(), front.accuracy.tolist(), front.gflops.tolist())
        points += [(tuple(row), accuracy, gflops) for row, accuracy, gflops in zip(*columns, strict=True)]
    for thresholds, accuracy, gflops in points[::3]:
        engine.policy = policy_of(name, thresholds)
        exits = np.array(expected_exits(scores, engine.policy.uncertainty_limits))
        assert (engine.predict(images).exits == 0).tolist() == (exits == 0).tolist()
        assert scores.correct[exits, np.arange(len(exits))].mean() == pytest.approx(accuracy)
        assert scores.gflops[exits].mean() == pytest.approx(gflops)
