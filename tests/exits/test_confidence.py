from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from greenedge.errors import ConfigError
from greenedge.exits.confidence import CRITERIA, find_criterion, margin, max_probability
from greenedge.models.entropy import entropy


def test_entropy_is_in_nats_and_largest_for_equal_logits() -> None:
    assert entropy(torch.zeros(1, 200)).item() == pytest.approx(math.log(200), rel=1e-6)


def test_entropy_equals_the_sum_written_out() -> None:
    p = np.array([0.7, 0.2, 0.1])
    found = entropy(torch.tensor(np.log(p))).item()
    assert found == pytest.approx(-sum(x * math.log(x) for x in p), rel=1e-6)


def test_entropy_of_a_certain_answer_is_zero_and_never_negative() -> None:
    found = entropy(torch.tensor([[1000.0, 0.0, -1000.0]]))
    assert found.item() == 0
    assert (entropy(torch.randn(500, 3) * 50) >= 0).all()


def test_max_probability_and_margin_of_known_probabilities() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    assert max_probability(logits).item() == pytest.approx(0.7, rel=1e-6)
    assert margin(logits).item() == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("name", CRITERIA)
def test_nothing_leaves_at_the_threshold_called_never(name: str) -> None:
    criterion = CRITERIA[name]
    logits = np.random.default_rng(0).normal(scale=30, size=(1000, 5)).astype(np.float32)
    assert not (criterion.uncertainty(logits) < criterion.limit(criterion.never)).any()


@pytest.mark.parametrize("name", CRITERIA)
def test_a_surer_answer_has_a_smaller_uncertainty(name: str) -> None:
    sure, unsure = CRITERIA[name].uncertainty(np.array([[9.0, 0, 0], [1.0, 0.5, 0]], dtype=np.float32))
    assert sure < unsure


def test_a_criterion_is_found_by_its_name_and_an_unknown_one_gets_the_nearest() -> None:
    assert all(find_criterion(name) is CRITERIA[name] for name in CRITERIA)
    with pytest.raises(ConfigError, match=r"'entropie'.* did you mean 'entropy'\?$") as caught:
        find_criterion("entropie")
    assert caught.value.key == "criterion"
