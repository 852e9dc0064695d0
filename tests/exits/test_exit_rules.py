from __future__ import annotations

import numpy as np
import pytest

from greenedge.errors import ConfigError, UsageError
from greenedge.exits.calibration import fit_temperatures
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.ensemble import fit_ensemble, join_outputs
from greenedge.exits.exit_rules import COMPARED_CRITERIA, ExitRule, compare_rules
from greenedge.exits.goal import Goal
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy_choice import tune_policy
from greenedge.exits.sweep import ExitScores, score_outputs
from tests.exits.helpers import agreeing_outputs

BUDGET = Goal(budget_gflops=1.6)
RULES = [ExitRule(name, joined) for joined in (False, True) for name in COMPARED_CRITERIA]


def median(scores: ExitScores) -> float:
    """The threshold at which half of the images exit at the first exit."""
    return scores.criterion.threshold_of(float(np.median(scores.uncertainty[0])))


def test_compare_rules_shows_each_image_once_to_what_was_fitted_without_it() -> None:
    outputs = agreeing_outputs(0, (2.0, 1.5, 1.0), 203)
    seen: list[int] = []

    def noting(scores: ExitScores) -> float:
        seen.append(scores.correct.shape[1])
        return median(scores)

    (found,) = compare_rules(outputs, [ExitRule("margin", True)], noting, temperatures=True)

    order = np.random.default_rng(0).permutation(203)
    right = spent = 0.0
    for part in np.array_split(order, 5):
        rest = np.setdiff1d(order, part)
        known = ExitOutputs(outputs.logits[:, rest], outputs.labels[rest], outputs.gflops)
        held_out = ExitOutputs(outputs.logits[:, part], outputs.labels[part], outputs.gflops)
        temperatures = fit_temperatures(known)
        weights = fit_ensemble(known, temperatures)
        threshold = median(score_outputs(join_outputs(known, temperatures, weights), CRITERIA["margin"]))
        point = score_outputs(join_outputs(held_out, temperatures, weights), CRITERIA["margin"]).operating_point(
            (threshold, threshold)
        )
        right += point.accuracy * len(part)
        spent += point.gflops * len(part)
    assert sorted(seen) == [162, 162, 162, 163, 163]
    assert found.accuracy == pytest.approx(right / 203, abs=1e-6)
    assert found.gflops == pytest.approx(spent / 203, abs=1e-6)


def test_compare_rules_leaves_out_what_does_not_reach_the_goal() -> None:
    def refusing(scores: ExitScores) -> float:
        if scores.criterion is CRITERIA["entropy"]:
            raise UsageError("no threshold")
        return median(scores)

    found = compare_rules(agreeing_outputs(0, (2.0, 1.0)), RULES, refusing, temperatures=False)
    assert [each.rule for each in found] == [rule for rule in RULES if rule.criterion != "entropy"]


def test_tune_policy_takes_the_best_of_what_is_left_open() -> None:
    outputs = agreeing_outputs(4, (2.0, 2.0, 2.0), 2000)
    found = tune_policy(outputs, None, BUDGET)
    assert [each.rule for each in found.compared] == RULES
    best = max((each for each in found.compared if not each.falls_back), key=lambda each: each.accuracy)
    assert found.rule == best.rule
    assert found.rule.ensemble  # exits that err independently are better together
    assert found.policy.ensemble == fit_ensemble(outputs, found.policy.temperatures)
    assert found.policy.criterion == found.rule.criterion

    alone = tune_policy(outputs, None, BUDGET, ensemble=False)
    assert [each.rule for each in alone.compared] == RULES[:4]
    assert alone.policy.ensemble is None
    assert found.chosen.chosen_on.accuracy > alone.chosen.chosen_on.accuracy
    assert found.chosen.chosen_on.gflops <= 1.6

    fixed = tune_policy(outputs, None, BUDGET, criterion="patience", ensemble=True)
    assert fixed.compared == ()
    assert fixed.policy.criterion == "patience"
    assert fixed.policy.ensemble is not None


def test_tune_policy_takes_the_cheapest_for_an_accuracy() -> None:
    found = tune_policy(agreeing_outputs(5, (2.0, 2.0), 1000), None, Goal(min_accuracy=0.5))
    assert found.rule == min(found.compared, key=lambda each: each.gflops).rule


def test_without_independent_errors_an_ensemble_adds_nothing() -> None:
    """The control: exits that say the same have nothing to add to each other."""
    outputs = agreeing_outputs(6, (1.5,), 1000)
    same = ExitOutputs(np.repeat(outputs.logits, 3, axis=0), outputs.labels, np.array([1.0, 2.0, 3.0]))
    found = tune_policy(same, None, BUDGET, criterion="margin")
    accuracies = [each.accuracy for each in found.compared]
    assert accuracies[0] == pytest.approx(accuracies[1])
    assert not found.rule.ensemble


def test_nothing_is_compared_where_it_would_be_chance_or_void_a_certificate() -> None:
    few = tune_policy(agreeing_outputs(7, (2.0, 1.0), 199), None, BUDGET, fallback="margin")
    assert (few.rule, few.compared) == (ExitRule("margin"), ())
    certified = tune_policy(agreeing_outputs(7, (1.0, 1.0), 1000), None, Goal(max_loss=0.3))
    assert (certified.rule, certified.compared) == (ExitRule("entropy"), ())
    assert (certified.policy.temperatures, certified.policy.ensemble) == (None, None)
    with pytest.raises(UsageError, match="would void the certificate"):
        tune_policy(agreeing_outputs(7, (1.0, 1.0), 1000), None, Goal(max_loss=0.3), ensemble=True)
    with pytest.raises(ConfigError, match="there is no 'luck'"):
        tune_policy(agreeing_outputs(7, (1.0, 1.0), 1000), None, BUDGET, criterion="luck")
