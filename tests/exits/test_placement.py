"""Where exits belong, against all sets and thresholds tried one by one."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from greenedge.errors import UsageError
from greenedge.exits import placement
from greenedge.exits.areas import dominated_area
from greenedge.exits.baselines import static_mixture
from greenedge.exits.candidates import Candidates
from greenedge.exits.exit_rules import ExitRule, fit_rule
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.placement import Placement, place_exits
from greenedge.exits.placement_scores import CRITERION, HalfScorer, PlacementGoal

TRUNK = np.array([0.1, 0.2, 0.15, 0.25, 0.3])
HEADS = np.array([0.01, 0.02, 0.03, 0.04, 0.05])


def toy(noise: tuple[float, ...] = (3.0, 2.2, 1.8, 1.3, 1.2), images: int = 240, seed: int = 0) -> Candidates:
    """Blocks that tell ever more of five classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, images)
    truth = 2 * np.eye(5)[labels]
    logits = np.stack([truth + random.normal(scale=each, size=truth.shape) for each in noise]).astype(np.float32)
    names = tuple(f"block{index}" for index in range(len(noise) - 1))
    return Candidates(names, logits, labels, TRUNK[: len(noise)], HEADS[: len(noise)])


def slow_scores(each: Candidates, blocks: tuple[int, ...], goal: PlacementGoal) -> list[float]:
    """Of every half: all thresholds of the other half tried one by one."""
    gflops, places, total = [], [*blocks, len(each.names)], 0.0
    for place in range(len(each.names) + 1):
        total += each.trunk_gflops[place]
        if place in places:
            total += each.head_gflops[place]
            gflops.append(total)
    outputs = ExitOutputs(each.logits[places], each.labels, np.array(gflops))
    found = []
    for fitted, held_out in placement._halves(len(each.labels)):
        rule = fit_rule(ExitRule(CRITERION, ensemble=True), outputs.subset(fitted), temperatures=True)
        known, shown = (
            dataclasses.replace(
                rule.score(outputs.subset(half)), gflops=outputs.gflops
            )  # the ensemble's own cost left out
            for half in (fitted, held_out)
        )
        margins = np.unique(-known.minima)
        tried = [1.0, *margins.tolist(), float(np.nextafter(margins[0], -1))]
        points = [known.operating_point((threshold,) * len(blocks)) for threshold in tried]
        plain = float(each.trunk_gflops.sum() + each.head_gflops[-1])
        chosen = []
        for budget in goal.budgets(gflops[0], plain):
            within = [point for point in points if point.gflops <= budget * (1 + 1e-9)]
            best = max(within, key=lambda point: (point.accuracy, -point.gflops))
            chosen.append(shown.operating_point(best.thresholds))
        if goal.budget_gflops is not None:
            found.append(chosen[0].accuracy)
        else:
            costs, accuracy = (np.array([getattr(p, name) for p in chosen]) for name in ("gflops", "accuracy"))
            found.append(dominated_area(costs, accuracy, plain))
    return found


@pytest.mark.parametrize("budget", [0.6, None])
def test_place_exits_scores_every_set_as_brute_force_does(budget: float | None) -> None:
    each, goal = toy(), PlacementGoal(budget, 3)
    found = place_exits(each, goal)
    assert found.exhaustive
    assert found.searched == (0, 1, 2, 3)
    every_set = {blocks for size in (1, 2, 3) for blocks in itertools.combinations(range(4), size)}
    if budget is not None:
        every_set -= {(3,)}  # which costs more
    assert {scored.blocks for scored in found.sets} == every_set
    for scored in found.sets:
        # A weight's last digits may send an image or two elsewhere.
        np.testing.assert_allclose(scored.scores, slow_scores(each, scored.blocks, goal), atol=2.1 / 120, rtol=0.03)
    exact = [scored.scores == pytest.approx(slow_scores(each, scored.blocks, goal)) for scored in found.sets]
    assert sum(exact) >= len(exact) // 2


def test_place_exits_takes_the_smallest_set_within_one_standard_error() -> None:
    for seed in range(6):
        found = place_exits(toy(seed=seed), PlacementGoal(0.6, 3))
        best = max(found.sets, key=lambda each: np.mean(each.scores))
        spread = np.std(best.scores, ddof=1) / math.sqrt(4)
        within = [each for each in found.sets if np.mean(each.scores) >= np.mean(best.scores) - spread]
        assert len(found.chosen.blocks) == min(len(each.blocks) for each in within)
        assert found.chosen in within
        assert found.best == best
        assert found.runner_up is not None
        assert found.runner_up != found.chosen


def test_place_exits_finds_the_block_that_knows_all() -> None:
    each = toy((3.0, 2.5, 0.05, 1.5, 1.2))
    found = place_exits(each, PlacementGoal(0.6, 2))
    assert found.names(found.chosen) == ("block2",)
    assert found.searched == (0, 1, 2)  # what comes later costs more and knows less
    assert found.gain.over_backbone is not None
    assert found.gain.over_backbone.interval.low > 0
    assert found.gain.over_static.value == pytest.approx(0, abs=0.01)  # that one exit alone does the same


def test_place_exits_forward_selection_finds_what_all_sets_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        each, goal = toy(seed=seed), PlacementGoal(0.6, 3)
        whole = place_exits(each, goal)
        with monkeypatch.context() as patch:
            patch.setattr(placement, "MOST_SETS", 0)
            some = place_exits(each, goal)
        assert not some.exhaustive
        assert set(some.sets) <= set(whole.sets)
        assert some.best.score >= whole.best.score - whole.best.standard_error


def test_place_exits_gain_is_that_of_held_out_images() -> None:
    each, goal = toy(), PlacementGoal(0.6, 3)
    found = place_exits(each, goal)
    right, spent = np.zeros(240), np.zeros(240)
    for fitted, held_out in placement._halves(240):
        correct, gflops = HalfScorer(each, fitted, held_out, goal).routed(found.chosen.blocks)
        right[held_out] += correct[0] / 2
        spent[held_out] += gflops[0] / 2
    assert found.gain.accuracy == pytest.approx(right.mean()) == pytest.approx(found.chosen.score)
    assert found.gain.gflops == pytest.approx(spent.mean())
    alone = np.cumsum(TRUNK) + HEADS
    mixed = static_mixture(np.array([spent.mean()]), alone, each.accuracy)
    assert found.gain.over_static.value == pytest.approx(right.mean() - mixed[0])
    assert found.gain.over_backbone is not None
    assert found.gain.over_backbone.value == pytest.approx(right.mean() - each.accuracy[-1])
    for estimate in (found.gain.over_static, found.gain.over_backbone):
        assert estimate is not None
        assert estimate.interval.low < estimate.value < estimate.interval.high


def test_candidates_costs_add_up() -> None:
    each = toy()
    np.testing.assert_allclose(each.exit_gflops((1, 3)), [0.3 + 0.02, 0.7 + 0.06, 1.0 + 0.11])
    assert each.plain_gflops == pytest.approx(1.05)
    outputs = each.outputs((1, 3))
    assert outputs.standalone_gflops == pytest.approx([0.32, 0.74, 1.05])
    np.testing.assert_array_equal(outputs.logits, each.logits[[1, 3, 4]])


@pytest.mark.parametrize(
    ("budget", "images", "words"),
    [
        (0.05, 240, r"no exit keeps within 0\.05 GFLOPs per image: the cheapest, after block0, costs 0\.1100 with its"),
        (0.6, 199, "199 calibration images are too few to place exits by, which takes 200; set more aside"),
    ],
)
def test_place_exits_says_what_cannot_be(budget: float, images: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        place_exits(toy(images=images), PlacementGoal(budget, 3))


def test_place_exits_says_where_no_exit_is_cheaper_than_the_backbone() -> None:
    each = toy()
    dear = Candidates(each.names, each.logits, each.labels, TRUNK, np.array([5.0, 5, 5, 5, 0.05]))
    with pytest.raises(UsageError, match=r"the backbone costs 1\.0500 GFLOPs per image, and with such a head no exit"):
        place_exits(dear, PlacementGoal(0.6, 3))


def test_placement_repr_names_the_blocks() -> None:
    found = place_exits(toy((3.0, 2.5, 0.05, 1.5, 1.2)), PlacementGoal(0.6, 1))
    assert isinstance(found, Placement)
    assert repr(found) == "Placement(block2 of 3 sets)"
