from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.layouts import ClassInfo
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.data.splits import carve_calibration, take_fraction
from greenedge.errors import DataError

CLASSES = tuple(ClassInfo(f"c{n}", f"class {n}") for n in range(4))


@pytest.fixture
def uneven() -> PreparedSplit:
    """30, 40, 50 and 60 images of four classes in mixed order, of which every row from 20 on belongs to the split."""
    labels = np.repeat(np.arange(4), [30, 40, 50, 60])
    labels = np.random.default_rng(1).permutation(labels)
    return PreparedSplit("train", np.zeros((180, 3, 1, 1), np.uint8), labels, np.arange(20, 180), CLASSES)


@pytest.mark.parametrize("per_class", [0, 1, 7, 20])
def test_calibration_takes_the_asked_number_of_each_class_and_training_keeps_the_rest(
    uneven: PreparedSplit, per_class: int
) -> None:
    train, calibration = carve_calibration(uneven, per_class)
    assert np.bincount(uneven.labels[calibration.rows], minlength=4).tolist() == [per_class] * 4
    assert len(set(train.rows.tolist()) & set(calibration.rows.tolist())) == 0
    assert sorted([*train.rows.tolist(), *calibration.rows.tolist()]) == list(range(20, 180))
    assert len(train) == 160 - 4 * per_class
    assert (train.name, calibration.name) == ("train", "calibration")


def test_the_same_images_are_drawn_every_time(uneven: PreparedSplit) -> None:
    np.random.seed(1)  # noqa: NPY002  # the draw must not depend on it
    first = carve_calibration(uneven, 5)[1]
    np.random.seed(2)  # noqa: NPY002
    assert carve_calibration(uneven, 5)[1].rows.tolist() == first.rows.tolist()


def test_calibration_images_are_spread_over_the_class_not_its_first(uneven: PreparedSplit) -> None:
    calibration = carve_calibration(uneven, 10)[1]
    for label in range(4):
        members = uneven.rows[uneven.labels[uneven.rows] == label].tolist()
        ranks = [members.index(row) for row in calibration.rows if uneven.labels[row] == label]
        assert max(ranks) >= len(members) // 2
        assert ranks != list(range(10))


def test_no_pixels_are_copied(prepared: Path) -> None:
    whole = open_prepared(prepared).split("train")
    for part in carve_calibration(whole, 3):
        assert np.shares_memory(part.images, whole.images)
        assert part.classes == whole.classes


def test_the_given_split_is_left_as_it_was(uneven: PreparedSplit) -> None:
    rows, labels = uneven.rows.copy(), uneven.labels.copy()
    carve_calibration(uneven, 5)
    np.testing.assert_array_equal(uneven.rows, rows)
    np.testing.assert_array_equal(uneven.labels, labels)


@pytest.mark.parametrize("per_class", [6, 7])
def test_a_class_that_would_keep_nothing_is_named(uneven: PreparedSplit, per_class: int) -> None:
    scarce = np.flatnonzero(uneven.labels == 2)[:6]
    others = np.flatnonzero(uneven.labels != 2)
    few = replace(uneven, rows=np.sort(np.concatenate([scarce, others])))
    with pytest.raises(DataError, match=f"calibration_per_class is {per_class}, and class 'c2' has 6") as caught:
        carve_calibration(few, per_class)
    assert caught.value.exit_code == 1


def test_one_image_a_class_may_be_all_that_is_left_to_train_on(uneven: PreparedSplit) -> None:
    scarce = np.concatenate([np.flatnonzero(uneven.labels == label)[:6] for label in range(4)])
    train, _ = carve_calibration(replace(uneven, rows=np.sort(scarce)), 5)
    assert sorted(uneven.labels[train.rows].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.25, 1.0])
def test_a_fraction_takes_its_share_of_each_class_rounded_up(uneven: PreparedSplit, fraction: float) -> None:
    counts = np.bincount(uneven.labels[uneven.rows], minlength=4)
    taken = take_fraction(uneven, fraction)
    assert np.bincount(uneven.labels[taken.rows], minlength=4).tolist() == [math.ceil(fraction * n) for n in counts]
    assert set(taken.rows.tolist()) <= set(uneven.rows.tolist())


def test_a_larger_fraction_contains_the_smaller_one(uneven: PreparedSplit) -> None:
    small, large = (set(take_fraction(uneven, fraction).rows.tolist()) for fraction in (0.3, 0.6))
    assert small < large
