from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.ensemble import fit_ensemble, fit_weight, join_outputs
from greenedge.exits.evaluation import evaluate_policy, top_predictions
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from tests.exits.helpers import agreeing_outputs, random_outputs, small_outputs

weights = st.floats(0, 0.99)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def test_probabilities_are_multiplied_each_to_the_power_of_its_weight() -> None:
    p = np.array([[[0.5, 0.3, 0.2]], [[0.1, 0.6, 0.3]], [[0.2, 0.2, 0.6]]])
    outputs = ExitOutputs(np.log(p).astype(np.float32), np.array([0]), np.array([1.0, 2.0, 3.0]))
    found = np.exp(log_softmax(join_outputs(outputs, None, (0.25, 0.5)).logits[:, 0].astype(np.float64)))
    second = p[0, 0] ** 0.25 * p[1, 0] ** 0.75
    third = second**0.5 * p[2, 0] ** 0.5
    expected = [p[0, 0], second / second.sum(), third / third.sum()]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(small_outputs, st.lists(st.floats(0.1, 10), min_size=4, max_size=4))
def test_join_outputs_without_weight_divides_by_the_temperature_alone(
    outputs: ExitOutputs, temperatures: list[float]
) -> None:
    chosen = temperatures[: outputs.num_exits]
    alone = join_outputs(outputs, chosen, None).logits
    np.testing.assert_array_equal(join_outputs(outputs, chosen, (0.0,) * (outputs.num_exits - 1)).logits, alone)
    np.testing.assert_array_equal(
        alone, np.stack([z / np.float32(t) for z, t in zip(outputs.logits, chosen, strict=True)])
    )
    assert join_outputs(outputs, None, None) is outputs


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)))
def test_fit_ensemble_finds_the_most_likely_weight(seed: int, noise: tuple[float, float]) -> None:
    outputs = agreeing_outputs(seed, noise, images=60)
    (found,) = fit_ensemble(outputs)
    first, second = outputs.logits.astype(np.float64)
    tried = [likelihood(w * first + (1 - w) * second, outputs.labels) for w in np.linspace(0, 0.99, 100)]
    assert likelihood(found * first + (1 - found) * second, outputs.labels) <= min(tried) + 1e-9


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
def test_fit_weight_finds_the_zero_of_slopes_that_are_flat_or_steep(dtype: torch.dtype, precision: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(150):
        images, classes = random.integers(2, 60), random.integers(2, 8)
        labels = torch.from_numpy(random.integers(0, classes, images))
        truth = 2 * np.eye(classes)[labels.numpy()]
        before, own = (
            torch.from_numpy((truth + random.normal(scale=3, size=truth.shape)) * 10 ** random.uniform(-1.5, 1.5))
            for _ in range(2)
        )
        change = before - own
        low, high = 0.0, 0.99
        for _ in range(40):
            middle = (low + high) / 2
            shares = torch.softmax(own + middle * change, dim=1)
            slope = (shares * change).sum(dim=1).mean() - change.gather(1, labels[:, None]).mean()
            low, high = (middle, high) if slope < 0 else (low, middle)
        assert fit_weight(before.to(dtype), own.to(dtype), labels) == pytest.approx(middle, abs=precision)


def test_fit_ensemble_trusts_the_exit_that_is_surer() -> None:
    (noisy_second,) = fit_ensemble(agreeing_outputs(0, (0.5, 4.0)))
    (noisy_first,) = fit_ensemble(agreeing_outputs(0, (4.0, 0.5)))
    assert noisy_second > 0.9
    assert noisy_first < 0.2


def test_fit_ensemble_goes_by_tempered_logits_exit_by_exit() -> None:
    outputs, temperatures = agreeing_outputs(3, (2.0, 1.5, 1.0)), (1.5, 0.5, 2.0)
    found = fit_ensemble(outputs, temperatures)
    tempered = outputs.logits.astype(np.float64) / np.array(temperatures)[:, None, None]
    second = found[0] * tempered[0] + (1 - found[0]) * tempered[1]
    tried = [likelihood(w * second + (1 - w) * tempered[2], outputs.labels) for w in np.linspace(0, 0.99, 100)]
    assert likelihood(found[1] * second + (1 - found[1]) * tempered[2], outputs.labels) <= min(tried) + 1e-9


def test_an_ensemble_of_equals_is_more_accurate_than_each() -> None:
    known, shown = agreeing_outputs(1, (2.0, 2.0, 2.0), 2000), agreeing_outputs(2, (2.0, 2.0, 2.0), 2000)
    joined = join_outputs(shown, None, fit_ensemble(known))
    assert joined.exit_accuracies()[2] > shown.exit_accuracies().max() + 0.05


@pytest.mark.parametrize("name", CRITERIA)
def test_evaluate_policy_routes_each_image_by_what_its_exits_go_by(name: str) -> None:
    outputs = random_outputs(5, 3, 50, 4)
    threshold = {"patience": 1.0, "entropy": 0.8, "normalised_entropy": 0.6}.get(name, 0.6)
    policy = ExitPolicy(name, (threshold, threshold), (1.5, 0.8, 2.0), None, (0.3, 0.6))
    found = evaluate_policy(outputs, policy)
    shown = top_predictions(outputs, found, top=2)

    criterion, right, exits = CRITERIA[name], 0, []
    for image in range(50):
        state, running = None, None
        for index in range(3):
            own = outputs.logits[index, image : image + 1] / np.float32(policy.temperature(index))
            weight = 0.0 if running is None else (0.3, 0.6)[index - 1]
            running = own if running is None else np.float32(weight) * running + np.float32(1 - weight) * own
            uncertainty = criterion.uncertainty(running[None])[0, 0] if name != "patience" else None
            if name == "patience":
                state = (running.argmax(), 1 if state is None or state[0] != running.argmax() else state[1] + 1)
                uncertainty = -float(state[1])
            if index == 2 or uncertainty < criterion.uncertainty_limit(threshold):
                break
        exits.append(index)
        right += int(running.argmax() == outputs.labels[image])
        assert shown.classes[image, 0] == running.argmax()
        assert shown.probability[image] == pytest.approx(float(np.exp(log_softmax(running)).max()), rel=1e-5)
    assert found.exit_indices.tolist() == exits
    assert found.accuracy == pytest.approx(right / 50)
    assert len(set(exits)) == (2 if name == "patience" else 3)  # patience needs two exits that agree
