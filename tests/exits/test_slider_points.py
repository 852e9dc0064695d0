from __future__ import annotations

import itertools

import numpy as np
import pytest

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.examples import pick_examples
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.slider_points import image_decisions, point_grid, some_points
from greenedge.exits.sweep import score_outputs, sweep_all
from tests.cli.helpers import point_of, softmax

RANDOM = np.random.default_rng(5)


def outputs(exits: int = 3, images: int = 40, classes: int = 4) -> ExitOutputs:
    logits = RANDOM.normal(size=(exits, images, classes)).astype(np.float32) * 2
    return ExitOutputs(logits, RANDOM.integers(0, classes, images), np.linspace(1, 2, exits))


@pytest.mark.parametrize("criterion", ["entropy", "max_probability", "margin", "patience"])
def test_point_grid_holds_exact_operating_points(criterion: str) -> None:
    found = outputs()
    grid = point_grid(score_outputs(found, CRITERIA[criterion]), most=50)
    assert grid is not None
    assert len(grid.points) == np.prod([len(each) for each in grid.thresholds]) <= 50
    for thresholds, point in zip(itertools.product(*grid.thresholds), grid.points, strict=True):
        expected = point_of(found, criterion, thresholds)
        assert point.thresholds == thresholds
        assert point.accuracy == pytest.approx(expected.accuracy)
        assert point.gflops == pytest.approx(expected.gflops)


def test_point_grid_goes_from_none_to_all_and_never_back() -> None:
    grid = point_grid(score_outputs(outputs(), CRITERIA["margin"]), most=100)
    assert grid is not None
    first, last = grid.points[0], grid.points[-1]
    assert first.exit_shares == (0, 0, 1)
    assert last.exit_shares == (1, 0, 0)
    second = [point.exit_shares[1] for point in grid.points[: len(grid.thresholds[1])]]
    assert second == sorted(second)
    assert second[-1] == 1


def test_point_grid_holds_the_policy_it_is_made_around() -> None:
    around = (0.7123, 1.0321)
    grid = point_grid(score_outputs(outputs(), CRITERIA["entropy"]), around, most=100)
    assert grid is not None
    assert grid.start is not None
    assert tuple(each[place] for each, place in zip(grid.thresholds, grid.start, strict=True)) == around
    assert len(grid.points) <= 100


@pytest.mark.parametrize(("exits", "most"), [(1, 100), (2, 100), (5, 80)])
def test_point_grid_is_left_out_where_it_says_nothing_or_too_little(exits: int, most: int) -> None:
    assert point_grid(score_outputs(outputs(exits), CRITERIA["entropy"]), most=most) is None


def test_some_points_are_points_of_the_curve_with_both_ends() -> None:
    curve = sweep_all(score_outputs(outputs(images=300), CRITERIA["entropy"]))
    some = some_points(curve, 20)
    assert 2 <= len(some) <= 20
    every = list(curve.points())
    assert all(point in every for point in some.points())
    assert {some.gflops.min(), some.gflops.max()} == {curve.gflops.min(), curve.gflops.max()}
    assert some_points(curve, 10_000) is curve


def test_pick_examples_are_what_their_names_say() -> None:
    found = outputs(images=80)
    examples = pick_examples(found, 5)
    correct = found.correct()
    confidence = np.array([[softmax(logits).max() for logits in of_exit] for of_exit in found.logits])

    rights = sorted((-confidence[0, image], image) for image in range(80) if correct[0, image])
    assert [each.image for each in examples.easiest] == [image for _, image in rights[:5]]
    wrongs = sorted((-confidence[-1, image], image) for image in range(80) if not correct[-1, image])
    assert [each.image for each in examples.confidently_wrong] == [image for _, image in wrongs[:5]]
    true = [softmax(found.logits[-1, image])[found.labels[image]] for image in range(80)]
    never = sorted((true[image], image) for image in range(80) if not correct[:, image].any())
    assert [each.image for each in examples.hardest] == [image for _, image in never[:5]]
    for each in examples.right_early:
        assert correct[each.exit_index, each.image]
        assert not correct[: each.exit_index, each.image].any()
        assert each.prediction == each.label != each.final


@pytest.mark.parametrize("criterion", ["entropy", "max_probability", "margin", "patience"])
def test_decisions_of_all_images_make_up_every_point_of_the_sliders(criterion: str) -> None:
    found = outputs()
    scores = score_outputs(found, CRITERIA[criterion])
    shared, grid = some_points(sweep_all(scores), most=15), point_grid(scores, most=50)
    assert grid is not None
    decisions = image_decisions(scores, found, range(40), shared, grid)

    def made_up(slider: str, places: tuple[int, ...]) -> tuple[list[float], float]:
        exits, right = [], []
        for each in decisions.values():
            reached = [e for e, place in enumerate(getattr(each, slider)) if places[e] >= place]
            exits.append(reached[0] if reached else 2)
            right.append(each.predictions[exits[-1]] == each.label)
        return [exits.count(index) / 40 for index in range(3)], sum(right) / 40

    for place, point in enumerate(shared.points()):
        shares, accuracy = made_up("shared", (place, place))
        assert shares == pytest.approx(point.exit_shares)
        assert accuracy == pytest.approx(point.accuracy)
    for places, point in zip(itertools.product(*map(range, map(len, grid.thresholds))), grid.points, strict=True):
        shares, accuracy = made_up("grid", places)
        assert shares == pytest.approx(point.exit_shares)
        assert accuracy == pytest.approx(point.accuracy)
