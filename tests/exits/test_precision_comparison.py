from __future__ import annotations

import numpy as np
import pytest

from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.precision_comparison import compare_precisions, refit_policy


def outputs(seed: int = 0, images: int = 400, noise: float = 0.0) -> ExitOutputs:
    """Three exits, each better than the one before; with noise, as another precision would give them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, images)
    truth = np.eye(5)[labels]
    logits = np.stack([strength * truth + random.normal(size=truth.shape) for strength in (1, 2, 3)])
    logits += noise * np.random.default_rng(9).normal(size=logits.shape)
    return ExitOutputs(logits.astype(np.float32), labels, np.array([1.0, 2.0, 4.0]))


def answers(given: ExitOutputs, policy: ExitPolicy) -> tuple[list[int], list[int]]:
    """Exit and prediction of each image by the rule, one image at a time."""
    exits, predictions = [], []
    for image in range(len(given.labels)):
        taken = 2
        for exit_index, threshold in enumerate(policy.thresholds):
            logits = given.logits[exit_index, image].astype(float)
            p = np.exp(logits) / np.exp(logits).sum()
            if p.max() > threshold:
                taken = exit_index
                break
        exits.append(taken)
        predictions.append(int(given.logits[taken, image].argmax()))
    return exits, predictions


def test_a_comparison_is_what_counting_gives() -> None:
    exact, other = outputs(), outputs(noise=0.4)
    first, second = ExitPolicy("max_probability", (0.8, 0.7)), ExitPolicy("max_probability", (0.75, 0.72))
    found = compare_precisions(exact, first, other, second)

    exits, predictions = answers(exact, first)
    other_exits, other_predictions = answers(other, second)
    labels = exact.labels
    right, other_right = np.array(predictions) == labels, np.array(other_predictions) == labels
    assert found.images == 400
    assert found.policy.exact_accuracy == pytest.approx(right.mean())
    assert found.policy.accuracy.value == pytest.approx(other_right.mean())
    assert found.policy.difference.value == pytest.approx(other_right.mean() - right.mean(), abs=1e-6)
    assert found.policy.same_predictions.value == pytest.approx(np.mean(np.array(predictions) == other_predictions))
    assert found.same_exits.value == pytest.approx(np.mean(np.array(exits) == other_exits))
    assert found.exact_rates == pytest.approx(np.bincount(exits, minlength=3) / 400)
    assert found.rates == pytest.approx(np.bincount(other_exits, minlength=3) / 400)
    assert found.exact_gflops == pytest.approx(np.array([1.0, 2, 4])[exits].mean())
    assert found.gflops == pytest.approx(np.array([1.0, 2, 4])[other_exits].mean())
    for each, before, after in zip(found.exits, exact.logits, other.logits, strict=True):  # no ensemble
        assert each.exact_accuracy == pytest.approx((before.argmax(1) == labels).mean())
        assert each.accuracy.value == pytest.approx((after.argmax(1) == labels).mean())
        assert each.same_predictions.value == pytest.approx((before.argmax(1) == after.argmax(1)).mean())
        assert each.difference.interval.low < each.difference.value < each.difference.interval.high


def test_differences_are_paired() -> None:
    """Two networks that disagree on few images differ by less than two independent ones could be told apart."""
    exact, other = outputs(images=2000), outputs(images=2000, noise=0.1)
    policy = ExitPolicy("max_probability", (0.8, 0.7))
    found = compare_precisions(exact, policy, other, policy)
    paired = found.policy.difference.interval.high - found.policy.difference.interval.low
    alone = found.policy.accuracy.interval.high - found.policy.accuracy.interval.low
    assert paired < alone / 2


def test_equal_outputs_are_equal_up_to_what_unseen_images_could_do() -> None:
    exact, policy = outputs(), ExitPolicy("max_probability", (0.8, 0.7))
    found = compare_precisions(exact, policy, exact, policy)
    assert found.policy.difference.value == 0
    assert found.policy.difference.interval.low < 0 < found.policy.difference.interval.high
    assert found.same_exits.value == found.policy.same_predictions.value == 1


@pytest.mark.parametrize(
    "policy",
    [
        ExitPolicy("max_probability", (0.8, 0.7)),
        ExitPolicy("entropy", (0.5, 0.5), temperatures=(0.5, 0.5, 0.5), ensemble=(0.3, 0.3)),
    ],
)
def test_a_policy_is_fitted_anew_at_the_same_cost(policy: ExitPolicy) -> None:
    exact = outputs()
    halved = ExitOutputs(0.5 * exact.logits, exact.labels, exact.gflops)  # scores differ, the order of images does not
    found = refit_policy(policy, exact, halved, "int8")
    assert (found.criterion, found.precision) == (policy.criterion, "int8")
    assert (found.temperatures is None, found.ensemble is None) == (
        policy.temperatures is None,
        policy.ensemble is None,
    )
    compared = compare_precisions(exact, policy, halved, found)
    assert 0.9 * compared.exact_gflops < compared.gflops <= compared.exact_gflops * (1 + 1e-9)
    assert compared.policy.accuracy.value >= compared.policy.exact_accuracy  # chosen on these images, per exit
