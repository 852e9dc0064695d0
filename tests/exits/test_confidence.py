from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from greenedge.errors import ConfigError, UsageError
from greenedge.exits.confidence import (
    CRITERIA,
    check_thresholds,
    describe_effect,
    find_criterion,
    margin,
    max_probability,
    normalised_entropy,
)
from greenedge.exits.outputs import ExitOutputs
from greenedge.models.entropy import entropy
from tests.exits.helpers import routes, small_outputs

criteria = st.sampled_from(sorted(CRITERIA))


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
    logits = np.random.default_rng(0).normal(scale=30, size=(4, 1000, 5)).astype(np.float32)
    assert not (criterion.uncertainty(logits) < criterion.uncertainty_limit(criterion.never_exit_threshold)).any()


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"patience"}))
def test_a_surer_answer_has_a_smaller_uncertainty(name: str) -> None:
    sure, unsure = CRITERIA[name].uncertainty(np.array([[[9.0, 0, 0], [1.0, 0.5, 0]]], dtype=np.float32))[0]
    assert sure < unsure


def test_a_criterion_is_found_by_its_name_and_an_unknown_one_gets_the_nearest() -> None:
    assert all(find_criterion(name) is CRITERIA[name] for name in CRITERIA)
    with pytest.raises(ConfigError, match=r"'entropie'.* did you mean 'entropy'\?$") as caught:
        find_criterion("entropie")
    assert caught.value.key == "criterion"


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_normalised_entropy_is_one_for_equal_logits_whatever_the_number_of_classes(classes: int) -> None:
    assert normalised_entropy(torch.full((1, classes), 3.0)).item() == pytest.approx(1, rel=1e-6)


def test_normalised_entropy_is_the_sum_written_out_in_logarithms_to_the_base_of_the_classes() -> None:
    p = np.array([0.7, 0.2, 0.1])
    found = normalised_entropy(torch.tensor(np.log(p))).item()
    assert found == pytest.approx(-sum(x * math.log(x, 3) for x in p), rel=1e-6)


def pabee_exit(answers: list[int], patience: int) -> int:
    """PABEE's counter as its authors' code has it, for one image; the last place where it never fills."""
    previous, counter = None, 0
    for place, answer in enumerate(answers):
        if previous is not None and answer == previous:
            counter += 1
        else:
            counter = 0
        previous = answer
        if counter == patience:
            return place
    return len(answers) - 1


answers_of_images = st.integers(1, 7).flatmap(
    lambda exits: st.lists(st.lists(st.integers(0, 2), min_size=exits, max_size=exits), min_size=1, max_size=6)
)


@given(answers_of_images, st.integers(1, 5))
def test_a_patience_leaves_where_the_counter_of_pabee_does(answers: list[list[int]], patience: int) -> None:
    logits = np.eye(3, dtype=np.float32)[np.array(answers).T]
    outputs = ExitOutputs(logits, np.zeros(len(answers), dtype=np.int64), np.arange(len(logits), dtype=np.float64))
    found = routes(outputs, CRITERIA["patience"], [[patience] * (len(logits) - 1)])[0]
    assert found == [pabee_exit(image, patience) for image in answers]


def test_patience_counts_exits_in_a_row_that_give_the_same_answer_by_hand() -> None:
    logits = np.eye(3, dtype=np.float32)[[[2, 0], [2, 1], [2, 0], [1, 0], [1, 0]]]
    counts = -CRITERIA["patience"].uncertainty(logits)
    assert counts.T.tolist() == [[1, 2, 3, 1, 2], [1, 1, 1, 2, 3]]


@pytest.mark.parametrize("name", CRITERIA)
def test_uncertainties_are_compared_with_limits_in_float64(name: str) -> None:
    criterion = CRITERIA[name]
    scores, _ = criterion.score_exit(torch.randn(1, 6, generator=torch.Generator().manual_seed(0)), None)
    score, uncertainty = float(scores), criterion.to_uncertainty(scores)
    assert uncertainty.dtype == torch.float64
    assert not uncertainty < criterion.uncertainty_limit(score)
    # The neighbour in float64: a comparison in float32 would call the two equal.
    later_exits = math.inf if criterion.exit_if_below else -math.inf
    assert uncertainty < criterion.uncertainty_limit(math.nextafter(score, later_exits))
    assert not uncertainty < criterion.uncertainty_limit(math.nextafter(score, -later_exits))


@given(small_outputs, criteria, st.integers(0, 2**31))
def test_step_by_step_with_images_dropping_out_each_leaves_where_the_kept_outputs_say(
    outputs: ExitOutputs, name: str, seed: int
) -> None:
    criterion = CRITERIA[name]
    random = np.random.default_rng(seed)
    # Half-way between scores, so that rounding by batch size decides nothing.
    thresholds = []
    for row in criterion.uncertainty(outputs.logits)[:-1]:
        values = np.unique(row)
        middles = (values[1:] + values[:-1])[np.diff(values) > 1e-4] / 2
        middles = np.append(middles, [values[0] - 1, values[-1] + 1])
        middle = float(random.choice(middles))
        thresholds.append(criterion.threshold_of(middle))
    waiting, state = torch.arange(len(outputs.labels)), None
    taken = torch.full((len(outputs.labels),), outputs.num_exits - 1)
    for index, threshold in enumerate(thresholds):
        scores, state = criterion.score_exit(torch.from_numpy(outputs.logits[index])[waiting], state)
        exiting = criterion.to_uncertainty(scores) < criterion.uncertainty_limit(threshold)
        taken[waiting[exiting]] = index
        waiting = waiting[~exiting]
        state = None if state is None else state[~exiting]
    assert taken.tolist() == routes(outputs, criterion, [thresholds])[0]


@pytest.mark.parametrize("name", CRITERIA)
def test_images_may_lie_in_any_shape(name: str) -> None:
    logits = np.random.default_rng(1).normal(size=(4, 6, 5, 3)).astype(np.float32)
    found = CRITERIA[name].uncertainty(logits)
    assert (found.shape, found.dtype) == ((4, 6, 5), np.float64)
    for row, column in np.ndindex(6, 5):
        alone = CRITERIA[name].uncertainty(logits[:, row, column])
        np.testing.assert_allclose(found[:, row, column], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CRITERIA)
def test_no_exits_have_no_uncertainty(name: str) -> None:
    assert CRITERIA[name].uncertainty(np.zeros((0, 7, 3), dtype=np.float32)).shape == (0, 7)


@pytest.mark.parametrize("name", sorted(CRITERIA))
@pytest.mark.parametrize(("exits", "classes"), [(2, 2), (4, 7), (3, 1)])
def test_scores_lie_in_the_span_and_come_near_both_ends(name: str, exits: int, classes: int) -> None:
    criterion = CRITERIA[name]
    random = np.random.default_rng(0)
    logits = random.normal(scale=random.choice([0.01, 1, 30], size=(1, 3000, 1)), size=(exits - 1, 3000, classes))
    logits[:, :100] = logits[:1, :100]  # the same answers at all exits
    scores = criterion.uncertainty(logits.astype(np.float32))
    scores = criterion.threshold_of(scores)
    lowest, highest = criterion.span(classes, exits)
    assert np.isfinite(scores).all()
    assert scores.min() >= lowest - 1e-6
    assert scores.max() <= highest + 1e-6
    if classes > 1:
        assert scores.min() == pytest.approx(lowest, abs=0.02)
        assert scores.max() == pytest.approx(highest, abs=0.02)


@pytest.mark.parametrize(
    ("name", "threshold"), [("max_probability", 90), ("margin", 1.01), ("patience", 4), ("entropy", -0.1)]
)
def test_a_threshold_beyond_all_scores_is_refused_with_their_range(name: str, threshold: float) -> None:
    with pytest.raises(UsageError, match=f"^at a threshold of {threshold:g} no image could ever exit early: {name} "):
        check_thresholds(name, [threshold], num_classes=4, num_exits=4)
    with pytest.raises(UsageError, match=f"threshold of {threshold:g}"):
        check_thresholds(name, [CRITERIA[name].never_exit_threshold, threshold], num_classes=4, num_exits=4)


def test_the_range_is_that_of_this_network() -> None:
    with pytest.raises(UsageError, match=r"\(probability\) lies between 0\.25 and 1 here"):
        check_thresholds("max_probability", [90], num_classes=4, num_exits=3)
    with pytest.raises(UsageError, match="between 1 and 2 here"):
        check_thresholds("patience", [3], num_classes=4, num_exits=3)
    check_thresholds("patience", [3], num_classes=4, num_exits=4)


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_what_can_be_reached_and_never_itself_are_taken(name: str) -> None:
    criterion = CRITERIA[name]
    lowest, highest = criterion.span(4, 4)
    check_thresholds(
        name, [criterion.never_exit_threshold, lowest, (lowest + highest) / 2, highest], num_classes=4, num_exits=4
    )


@pytest.mark.parametrize(
    ("name", "thresholds", "effect"),
    [
        ("entropy", [0.0, 0.0], "no image exits early"),
        ("entropy", [0.0, 0.1], None),
        ("entropy", [9.0, 0.0], "every image exits at the first exit"),
        ("entropy", [0.0, 9.0], None),
        ("entropy", [math.log(4) - 0.01, 0.5], None),
        ("normalised_entropy", [1.1, 1.1], "every image exits at the first exit"),
        ("max_probability", [1.0, 1.0], "no image exits early"),
        ("max_probability", [0.2, 1.0], "every image exits at the first exit"),
        ("max_probability", [0.3, 0.3], None),
        ("margin", [0.0, 0.0], None),
        ("patience", [2.0, 2.0], "no image exits early"),
        ("patience", [1.0, 1.0], None),
        ("patience", [0.0, 1.0], "every image exits at the first exit"),
    ],
)
def test_thresholds_that_decide_for_all_images_are_named(
    name: str, thresholds: list[float], effect: str | None
) -> None:
    assert describe_effect(CRITERIA[name], thresholds, num_classes=4, num_exits=3) == effect


def test_with_one_class_every_answer_is_certain() -> None:
    logits = torch.tensor([[3.0], [-2.0]])
    assert margin(logits).tolist() == [1, 1]
    assert normalised_entropy(logits).tolist() == [0, 0]
