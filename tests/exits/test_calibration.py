from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from greenedge.exits.calibration import (
    expected_calibration_error,
    failure_auroc,
    fit_temperatures,
    top_confidence,
)
from greenedge.exits.outputs import ExitOutputs
from tests.exits.helpers import small_outputs


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    # On a busy machine, threads that share thousands of tiny softmaxes mostly wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def outputs_of(*logits: np.ndarray, labels: np.ndarray) -> ExitOutputs:
    return ExitOutputs(np.stack(logits).astype(np.float32), labels, np.arange(1.0, len(logits) + 1))


def sampled_labels(logits: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Labels as likely as the softmax of the logits says: the largest of the logits with Gumbel noise added."""
    labels: np.ndarray = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return labels


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Of each temperature (T,), the mean over the images of logits (N, C)."""
    scaled = logits.astype(np.float64) / temperatures[:, None, None]
    scaled -= scaled.max(axis=2, keepdims=True)
    means: np.ndarray = (np.log(np.exp(scaled).sum(axis=2)) - scaled[:, np.arange(len(labels)), labels]).mean(axis=1)
    return means


@given(small_outputs)
def test_no_temperature_of_a_fine_grid_makes_the_labels_likelier(outputs: ExitOutputs) -> None:
    grid = np.geomspace(0.01, 100, 401)
    for logits, found in zip(outputs.logits, fit_temperatures(outputs), strict=True):
        assert 0.01 <= found <= 100
        (reached,) = negative_log_likelihood(logits, outputs.labels, np.array([found]))
        assert reached <= negative_log_likelihood(logits, outputs.labels, grid).min() + 1e-6


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_temperatures_are_those_of_an_optimiser_and_undo_a_known_scale(scale: float) -> None:
    random = np.random.default_rng(0)
    true = random.normal(scale=2, size=(4000, 8))
    labels = sampled_labels(true, random)
    outputs = outputs_of(true * scale, labels=labels)
    logits, target = torch.from_numpy(outputs.logits[0]).double(), torch.from_numpy(labels)
    inverse = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([inverse], line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=0)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(logits * inverse, target)
        value.backward()
        return value

    optimiser.step(loss)
    (found,) = fit_temperatures(outputs)
    assert found == pytest.approx(1 / inverse.item(), rel=1e-5)
    assert found == pytest.approx(scale, rel=0.06)


@pytest.mark.parametrize(("right", "gap"), [(3, 2.0), (3, 0.5), (9, 30.0)])
def test_with_two_classes_and_one_gap_the_temperature_is_the_gap_over_the_log_odds(right: int, gap: float) -> None:
    labels = np.array([0] * right + [1])
    logits = np.tile([gap + 1, 1.0], (right + 1, 1))
    (found,) = fit_temperatures(outputs_of(logits, labels=labels))
    assert found == pytest.approx(gap / math.log(right), rel=1e-6)


def test_each_exit_gets_its_own_temperature() -> None:
    logits, labels = np.tile([2.0, 0.0], (4, 1)), np.array([0, 0, 0, 1])
    found = fit_temperatures(outputs_of(logits, 3 * logits, 0.5 * logits, labels=labels))
    assert found == pytest.approx([t * 2 / math.log(3) for t in (1, 3, 0.5)], rel=1e-6)


def test_answers_that_are_all_right_or_all_wrong_have_the_nearest_end_of_the_interval() -> None:
    labels = np.arange(20) % 2
    right = 10.0 * np.eye(2)[labels]
    found = fit_temperatures(outputs_of(right, -right, labels=labels))
    assert found == pytest.approx([0.01, 100], rel=1e-3)


def test_the_temperature_mends_the_calibration_of_an_overconfident_exit() -> None:
    random = np.random.default_rng(1)
    true = random.normal(scale=1.5, size=(4000, 6))
    outputs = outputs_of(3 * true, labels=sampled_labels(true, random))
    (temperature,) = fit_temperatures(outputs)
    before, after = (
        expected_calibration_error(top_confidence(outputs.logits[0], t), outputs.correct()[0])
        for t in (1.0, temperature)
    )
    assert before > 0.15
    assert after < 0.03


def test_calibration_error_by_hand() -> None:
    # Upper half: 2 of 3 right at a mean confidence of 0.75; lower half: 1 of 1 right at 0.4.
    confidence, correct = np.array([0.9, 0.4, 0.75, 0.6]), np.array([True, True, False, True])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx((3 * (0.75 - 2 / 3) + 0.6) / 4)
    assert expected_calibration_error(confidence, correct, bins=1) == pytest.approx(0.75 - 2.65 / 4)


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower() -> None:
    # 0.5 shares its bin with 0.375, where the gaps -0.5 and 0.625 add up to 0.125; 0.625 and 1 are in the upper.
    confidence = np.array([0.5, 0.375, 0.625, 1.0], dtype=np.float32)
    correct = np.array([False, True, True, True])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx((0.125 + 0.375) / 4)


def test_calibration_error_is_none_for_certain_right_answers_and_one_for_certain_wrong_ones() -> None:
    certain = np.ones(5, dtype=np.float32)
    assert expected_calibration_error(certain, np.ones(5, dtype=bool)) == 0
    assert expected_calibration_error(certain, np.zeros(5, dtype=bool)) == 1


# No multiple of 1/997 but 1 lies on an edge of fewer than 997 bins, so rounding decides nothing.
answers = st.lists(st.tuples(st.integers(1, 997), st.booleans()), min_size=1, max_size=30)


@given(answers, st.integers(1, 20))
def test_calibration_error_equals_a_loop_over_bins(pairs: list[tuple[int, bool]], bins: int) -> None:
    confidence = np.array([numerator / 997 for numerator, _ in pairs])
    correct = np.array([right for _, right in pairs])
    total = 0.0
    for index in range(bins):
        inside = [i for i, c in enumerate(confidence) if index / bins < c <= (index + 1) / bins]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            total += len(inside) / len(pairs) * abs(accuracy - sum(confidence[i] for i in inside) / len(inside))
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(total, abs=1e-12)


@given(answers)
def test_fifteen_bins_are_taken_unless_others_are_asked_for(pairs: list[tuple[int, bool]]) -> None:
    confidence, correct = np.array([c / 997 for c, _ in pairs]), np.array([right for _, right in pairs])
    assert expected_calibration_error(confidence, correct) == expected_calibration_error(confidence, correct, 15)


@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=25))
def test_failure_auroc_equals_counting_pairs_with_ties_half(pairs: list[tuple[int, bool]]) -> None:
    uncertainty = np.array([score for score, _ in pairs]) / 8
    correct = np.array([right for _, right in pairs])
    wins = [(w > r) + (w == r) / 2 for w, bad in pairs if not bad for r, good in pairs if good]
    found = failure_auroc(uncertainty, correct)
    if wins:
        assert found == pytest.approx(sum(wins) / len(wins))
    else:
        assert found is None


def test_failure_auroc_by_hand() -> None:
    uncertainty = np.array([0.1, 0.2, 0.3, 0.3], dtype=np.float32)
    # The wrong 0.2 beats the right 0.1, loses to the right 0.3; the wrong 0.3 beats 0.1 and ties with 0.3.
    assert failure_auroc(uncertainty, np.array([True, False, True, False])) == pytest.approx(2.5 / 4)
    assert failure_auroc(uncertainty, np.array([True, True, False, False])) == 1
    assert failure_auroc(uncertainty, np.array([False, False, True, True])) == 0
    assert failure_auroc(np.zeros(4), np.array([True, False, True, False])) == 0.5


@pytest.mark.parametrize("right", [True, False])
def test_failure_auroc_of_answers_all_right_or_all_wrong_is_none(right: bool) -> None:
    assert failure_auroc(np.arange(3.0), np.full(3, right)) is None


def test_top_confidence_by_hand_at_two_temperatures() -> None:
    logits = np.log(np.array([[[0.64, 0.36], [0.1, 0.9]]], dtype=np.float32))
    np.testing.assert_allclose(top_confidence(logits), [[0.64, 0.9]], rtol=1e-6)
    np.testing.assert_allclose(top_confidence(logits, 2.0), [[0.8 / 1.4, 0.75]], rtol=1e-6)
    assert top_confidence(logits, 2.0).dtype == np.float32
