from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.errors import ConfigError, UsageError
from greenedge.exits.confidence import CRITERIA, find_criterion
from greenedge.exits.evaluation import evaluate_policy
from greenedge.exits.exit_rules import ComparedRule, ExitRule, OverMargin, best_rule, compare_rules, fit_rule
from greenedge.exits.gain import continuing_price, exit_features, fit_gain, fit_ridge, gain_criterion
from greenedge.exits.goal import Goal
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy, write_policy
from greenedge.exits.policy_choice import tune_policy
from greenedge.exits.sweep_result import analyse_sweep
from tests.exits.helpers import agreeing_outputs, random_outputs

BUDGET = Goal(budget_gflops=1.4)
GAIN = ((0.1,) * 9, (0.1,) * 14)
POLICY = ExitPolicy("gain", (0.0, 0.1), None, None, None, GAIN)


def features_by_hand(logits: list[float], former: list[float] | None) -> list[float]:
    """Of one image, with Python's own floats."""

    def probabilities(values: list[float]) -> list[float]:
        total = sum(math.exp(each - max(values)) for each in values)
        return [math.exp(each - max(values)) / total for each in values]

    def scores(values: list[float]) -> list[float]:
        p = sorted(probabilities(values), reverse=True)
        return [p[0], p[0] - p[1], -sum(each * math.log(each) for each in p)]

    ranked, p = sorted(logits, reverse=True), probabilities(logits)
    found = [*scores(logits), math.log(max(p)), ranked[0], ranked[0] - ranked[1]]
    found += [math.log(sum(map(math.exp, logits))), sum(sorted(p)[-5:])]
    if former is not None:
        q = probabilities(former)
        found += [*scores(former), float(p.index(max(p)) == q.index(max(q)))]
        found.append(sum(one * math.log(one / other) for one, other in zip(p, q, strict=True)))
    return found


def hopeless_outputs(seed: int, images: int = 3000) -> ExitOutputs:
    """Half of the unsure images are right at the second exit, the others at none; the top five say which they are.

    The first exit spreads its doubt over two classes where running on helps, and over all of them where it does not; of
    the two kinds the hopeless one has the smaller margin, so that by margin it runs on first.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, images)
    kind = random.integers(0, 3, images)  # sure, worth running on with, hopeless
    rows, others = np.arange(images), (labels + 1) % 10
    first = random.normal(scale=0.05, size=(images, 10))
    first[rows[kind == 0], labels[kind == 0]] += 8
    first[rows[kind == 1], others[kind == 1]] += 5.2
    first[rows[kind == 1], labels[kind == 1]] += 5
    second = first.copy()
    second[rows[kind == 1], labels[kind == 1]] += 4
    first[rows[kind == 2], others[kind == 2]] += 0.2
    second[rows[kind == 2], others[kind == 2]] += 0.5
    return ExitOutputs(np.stack([first, second]).astype(np.float32), labels, np.array([1.0, 2.0]))


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 8))
def test_exit_features_are_those_written_out(seed: int, classes: int) -> None:
    outputs = random_outputs(seed, 3, 4, classes)
    state = None
    for index, logits in enumerate(torch.from_numpy(outputs.logits)):
        features, state = exit_features(logits, state)
        for image, row in enumerate(logits.tolist()):
            former = outputs.logits[index - 1, image].tolist() if index else None
            assert features[image].tolist() == pytest.approx(features_by_hand(row, former), rel=1e-6, abs=1e-9)


def test_exit_features_of_one_class_and_of_extreme_logits_are_finite() -> None:
    for logits in (torch.zeros(2, 1), torch.tensor([[1e30, -1e30, 0.0], [3e38, 3e38, -3e38]])):
        _, state = exit_features(logits, None)
        features, _ = exit_features(logits, state)
        assert torch.isfinite(features).all()


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 5), st.floats(0.1, 100))
def test_fit_ridge_solves_the_augmented_least_squares_problem(seed: int, count: int, alpha: float) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(40, count)) * random.uniform(0.1, 100, count) + random.normal(size=count)
    target = random.normal(size=40) + features @ random.normal(size=count) / 50
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    rows = np.vstack([np.column_stack([np.ones(40), standard]), np.zeros((count, 1 + count))])
    rows[40:, 1:] = np.eye(count) * math.sqrt(alpha)
    expected = np.linalg.lstsq(rows, np.append(target, np.zeros(count)), rcond=None)[0]
    found = fit_ridge(features, target, alpha)
    np.testing.assert_allclose(found[1:] * features.std(axis=0), expected[1:], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found[0] + features @ found[1:], expected[0] + standard @ expected[1:], atol=1e-8)


def test_fit_ridge_gives_nothing_to_a_feature_that_does_not_vary() -> None:
    features = np.column_stack([np.arange(10.0), np.full(10, 0.1 + 0.2)])
    found = fit_ridge(features, np.arange(10.0), 1.0)
    assert found[2] == 0
    assert found[1] > 0.5


def test_fit_gain_goes_backward_over_the_exits() -> None:
    """Against numpy alone: the targets, exit by exit, and the fit by the normal equations."""
    outputs = agreeing_outputs(3, (2.0, 1.5, 1.0), 500)
    correct = outputs.correct().astype(float)
    price = (correct[2].mean() - correct[0].mean()) / 2
    assert continuing_price(outputs) == pytest.approx(price)
    features = [
        np.array([features_by_hand(row, former) for row, former in zip(logits.tolist(), formers, strict=True)])
        for logits, formers in zip(outputs.logits[:2], ([None] * 500, outputs.logits[0].tolist()), strict=True)
    ]

    value, expected = correct[2], []
    for index in (1, 0):
        running_on = value - price * 1.0
        target, found = running_on - correct[index], features[index]
        standard = (found - found.mean(axis=0)) / np.where(found.std(axis=0) > 1e-9, found.std(axis=0), 1)
        weights = np.linalg.inv(standard.T @ standard + 30 * np.eye(found.shape[1])) @ standard.T @ target
        predicted = target.mean() + standard @ weights
        value = np.where(predicted < 0, correct[index], running_on)
        expected.insert(0, predicted)
    scores = gain_criterion(fit_gain(outputs)).uncertainty(outputs.logits)
    np.testing.assert_allclose(scores[:2], np.clip(expected, -1, 1), atol=1e-4)
    assert (scores[2] == 0).all()  # nothing follows the final exit


def test_continuing_price_is_never_negative() -> None:
    outputs = agreeing_outputs(0, (0.5, 3.0))
    assert continuing_price(outputs) == 0
    assert continuing_price(dataclasses.replace(outputs, gflops=np.ones(2))) == 0


def test_gain_leaves_hopeless_images_where_margin_runs_on_with_them() -> None:
    """The worth is known: a third of the images gains everything by running on, another third nothing."""
    known, shown = hopeless_outputs(0), hopeless_outputs(1)
    found = {name: tune_policy(known, shown, BUDGET, criterion=name, ensemble=False) for name in ("margin", "gain")}
    points = {name: each.chosen.shown for name, each in found.items()}
    assert points["gain"].accuracy > points["margin"].accuracy + 0.2
    assert points["gain"].accuracy == pytest.approx(2 / 3, abs=0.05)
    assert points["gain"].gflops == pytest.approx(4 / 3, abs=0.05)
    chosen = tune_policy(known, shown, BUDGET)
    assert chosen.rule.criterion == "gain"
    (compared,) = (each for each in chosen.compared if each.rule == ExitRule("gain"))
    assert compared.over_margin is not None
    assert compared.over_margin.clear
    assert compared.over_margin.value > 10 * compared.over_margin.standard_error


def permuted_outputs(seed: int) -> ExitOutputs:
    """Of labels that nothing can be known of."""
    outputs = agreeing_outputs(seed, (2.0, 1.5, 1.0), 1000)
    return dataclasses.replace(outputs, labels=np.random.default_rng(seed).permutation(outputs.labels))


def test_gain_fitted_on_permuted_labels_predicts_nothing() -> None:
    fitted = fit_rule(ExitRule("gain"), permuted_outputs(0), temperatures=False)
    uncertainty = fitted.score(permuted_outputs(1)).uncertainty
    assert np.abs(uncertainty).mean() < 0.1  # of a gain that is 0, where accuracies are a fifth
    assert (
        np.abs(uncertainty).mean()
        < np.abs(
            fit_rule(ExitRule("gain"), hopeless_outputs(0), temperatures=False).score(hopeless_outputs(1)).uncertainty
        ).mean()
        / 4
    )


def test_gain_fitted_on_permuted_labels_falls_back_but_for_chance() -> None:
    """The control: a sixth of such differences exceeds one standard error by chance; the rest must fall back."""
    chosen = 0
    for seed in range(12):
        found = tune_policy(permuted_outputs(seed), None, BUDGET, ensemble=False, temperatures=False)
        (gain,) = (each for each in found.compared if each.rule.criterion == "gain")
        assert gain.over_margin is not None
        assert abs(gain.over_margin.value) < 4 * gain.over_margin.standard_error
        chosen += found.rule.criterion == "gain"
    assert chosen <= 4


@pytest.mark.parametrize(("value", "chosen"), [(0.005, "gain"), (0.003, "entropy"), (-0.1, "entropy")])
def test_best_rule_takes_gain_only_beyond_a_standard_error(value: float, chosen: str) -> None:
    compared = [
        ComparedRule(ExitRule("entropy"), 0.71, 0.1),
        ComparedRule(ExitRule("margin"), 0.70, 0.11),
        ComparedRule(ExitRule("gain"), 0.72, 0.09, OverMargin(value, 0.004)),
    ]
    assert best_rule(compared, "accuracy").criterion == chosen
    assert best_rule(compared, "gflops").criterion == chosen


def test_compare_rules_gives_the_paired_standard_error() -> None:
    outputs = agreeing_outputs(1, (2.0, 1.0), 1000)
    rules = [ExitRule("margin"), ExitRule("gain"), ExitRule("gain", ensemble=True)]
    right: dict[str, list[float]] = {"margin": [], "gain": []}
    spent: dict[str, list[float]] = {"margin": [], "gain": []}
    order = np.random.default_rng(0).permutation(1000)
    for part in np.array_split(order, 5):
        known, held_out = outputs.subset(np.setdiff1d(order, part)), outputs.subset(part)
        for name in right:
            policy = fit_rule(ExitRule(name), known, temperatures=False).policy((0.3 if name == "margin" else 0.0,))
            exits = evaluate_policy(held_out, policy).exit_indices
            right[name] += held_out.correct()[exits, np.arange(len(exits))].tolist()
            spent[name] += (policy.join_outputs(held_out).gflops[exits]).tolist()

    def choose(scores: Any) -> float:
        return 0.3 if scores.criterion is CRITERIA["margin"] else 0.0

    for by, columns, sign in (("accuracy", right, 1), ("gflops", spent, -1)):
        _, gain, joined = compare_rules(outputs, rules, choose, temperatures=False, by=by)  # type: ignore[arg-type]
        difference = sign * (np.array(columns["gain"], dtype=float) - np.array(columns["margin"], dtype=float))
        assert gain.over_margin is not None
        assert gain.over_margin.value == pytest.approx(difference.mean(), abs=2e-3)
        assert gain.over_margin.standard_error == pytest.approx(difference.std() / math.sqrt(1000), rel=0.05)
        assert joined.over_margin is None  # margin with an ensemble was not compared


def test_gain_cannot_be_certified() -> None:
    with pytest.raises(UsageError, match=r"^gain, fitted on the images that certify .+ would void the certificate$"):
        tune_policy(agreeing_outputs(7, (1.0, 1.0), 1000), None, Goal(max_loss=0.3), criterion="gain")
    certified = tune_policy(agreeing_outputs(7, (1.0, 1.0), 1000), None, Goal(max_loss=0.3))
    assert (certified.rule.criterion, certified.policy.gain) == ("entropy", None)


def test_find_criterion_says_where_gain_comes_from() -> None:
    with pytest.raises(
        ConfigError, match=r"gain is learned by `greenedge tune --criterion gain` and used with the policy"
    ):
        find_criterion("gain")


def test_policy_keeps_the_coefficients(tmp_path: Path) -> None:
    saved = SavedPolicy(POLICY, ("a", "b", "c"), "0123")
    write_policy(tmp_path / "policy.json", saved)
    assert read_policy(tmp_path / "policy.json", ("a", "b", "c"), "0123") == saved
    assert json.loads((tmp_path / "policy.json").read_text())["gain"] == [list(each) for each in GAIN]
    assert str(POLICY) == "gain thresholds 0, 0.1 (accuracy)"
    assert str(POLICY.without_early_exit()) == "no image exits early"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gain": None}, "gain needs its coefficients, which `greenedge tune --criterion gain` fits"),
        ({"criterion": "margin"}, "coefficients of gain were given, but the criterion is margin"),
        ({"gain": GAIN[:1]}, "gain has 9 coefficients at its exits, and the policy's 2 early exits need 9, 14"),
        ({"gain": (GAIN[0], GAIN[0])}, "gain has 9, 9 coefficients at its exits, and the policy's 2 early exits need"),
        ({"gain": ()}, "gain has no coefficients at its exits"),
        ({"gain": (GAIN[0], (math.nan,) * 14)}, "the coefficients of gain must be finite numbers"),
        ({"thresholds": (0.1,)}, "gain has 9, 14 coefficients at its exits, and the policy's 1 early exits need 9"),
    ],
)
def test_policy_refuses_coefficients_that_do_not_fit(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        dataclasses.replace(POLICY, **changes)
    assert str(caught.value).startswith(words)


def test_policy_of_another_network_is_refused(tmp_path: Path) -> None:
    write_policy(tmp_path / "policy.json", SavedPolicy(POLICY, ("a", "b", "c"), "0123"))
    content = {**json.loads((tmp_path / "policy.json").read_text()), "gain": [[0.1] * 9, [0.1] * 13]}
    del content["digest"]
    (tmp_path / "policy.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"policy\.json: gain has 9, 13 coefficients"):
        read_policy(tmp_path / "policy.json", ("a", "b", "c"), "0123")
    write_policy(tmp_path / "policy.json", SavedPolicy(POLICY, ("a", "b", "c"), "0123"))
    with pytest.raises(UsageError, match="the network has 1 early exits; tune again"):
        read_policy(tmp_path / "policy.json", ("a", "c"), "0123")


def test_own_gflops_are_counted_by_hand() -> None:
    temperatures, ensemble = (1.0, 2.0, 3.0), (0.2, 0.5)
    gain = [9 * 200 + 9, 10 * 200 + 14, 0]
    for policy, operations in (
        (ExitPolicy("margin", (0.5, 0.5)), [0, 0, 0]),
        (ExitPolicy("margin", (0.5, 0.5), temperatures), [0, 0, 0]),
        (ExitPolicy("margin", (0.5, 0.5), None, None, ensemble), [0, 400, 400]),
        (ExitPolicy("margin", (0.5, 0.5), temperatures, None, ensemble), [200, 600, 600]),
        (POLICY, gain),
        (dataclasses.replace(POLICY, temperatures=temperatures, ensemble=ensemble), np.add(gain, [200, 600, 600])),
    ):
        np.testing.assert_allclose(policy.own_gflops(200), np.cumsum(operations) / 1e9, rtol=1e-12)


def test_analyse_sweep_keeps_all_of_a_policy_but_its_thresholds() -> None:
    outputs = random_outputs(1, 3, 200, 10)
    policy = dataclasses.replace(POLICY, temperatures=(1.0, 2.0, 0.5), ensemble=(0.2, 0.5))
    found = analyse_sweep(outputs, outputs.gflops, criterion=policy)
    for point in list(found.points.points())[::20]:
        expected = evaluate_policy(outputs, dataclasses.replace(policy, thresholds=point.thresholds)).point
        assert (point.accuracy, *point.exit_shares) == pytest.approx((expected.accuracy, *expected.exit_shares))
        assert point.gflops == pytest.approx(expected.gflops, rel=1e-12)
    assert found.exit_accuracies == tuple(outputs.exit_accuracies().tolist())  # of what is fixed: each exit alone
    assert len(analyse_sweep(outputs, outputs.gflops, criterion=policy, thresholds=[0.1, 0.2]).points) == 2
    with pytest.raises(UsageError, match=r"no image could ever exit early: gain \(accuracy\) lies between -1 and 1"):
        analyse_sweep(outputs, outputs.gflops, criterion=policy, thresholds=[-2.0])
    with pytest.raises(UsageError, match="the policy has 2 thresholds, the network has 3 early exits"):
        analyse_sweep(random_outputs(1, 4, 20, 5), np.arange(4), criterion=policy)


def test_evaluate_policy_counts_what_the_policy_costs() -> None:
    outputs = random_outputs(0, 3, 200, 10)
    for policy in (POLICY, ExitPolicy("margin", (0.5, 0.5), None, None, (0.2, 0.5)), ExitPolicy("margin", (0.5, 0.5))):
        found = evaluate_policy(outputs, policy)
        shares = np.array(found.point.exit_shares)
        assert found.gflops == pytest.approx(float(shares @ (outputs.gflops + policy.own_gflops(10))), rel=1e-12)
    assert found.gflops == float(shares @ outputs.gflops)
