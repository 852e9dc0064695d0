from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.layouts import ClassInfo
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import ImageDigests, PreparedSplit, open_prepared
from greenedge.data.splits import carve_calibration, source_digest, split_digest, take_fraction
from greenedge.errors import DataError

CLASSES = tuple(ClassInfo(f"c{n}", f"class {n}") for n in range(4))


@pytest.fixture
def uneven() -> PreparedSplit:
    """Makes 30, 40, 50 and 60 images of four classes in mixed order; the rows from 20 on belong to the split."""
    labels = np.repeat(np.arange(4), [30, 40, 50, 60])
    labels = np.random.default_rng(1).permutation(labels)
    return PreparedSplit("train", np.zeros((180, 3, 1, 1), np.uint8), labels, np.arange(20, 180), CLASSES)


@pytest.mark.parametrize("per_class", [0, 1, 7, 20])
def test_carve_calibration_takes_the_given_number_of_each_class(uneven: PreparedSplit, per_class: int) -> None:
    train, calibration = carve_calibration(uneven, per_class)
    assert np.bincount(uneven.labels[calibration.rows], minlength=4).tolist() == [per_class] * 4
    assert len(set(train.rows.tolist()) & set(calibration.rows.tolist())) == 0
    assert sorted([*train.rows.tolist(), *calibration.rows.tolist()]) == list(range(20, 180))
    assert len(train) == 160 - 4 * per_class
    assert (train.name, calibration.name) == ("train", "calibration")


def test_carve_calibration_draws_the_same_images_every_time(uneven: PreparedSplit) -> None:
    np.random.seed(1)  # noqa: NPY002  # the draw must not depend on it
    first = carve_calibration(uneven, 5)[1]
    np.random.seed(2)  # noqa: NPY002
    assert carve_calibration(uneven, 5)[1].rows.tolist() == first.rows.tolist()


def test_carve_calibration_spreads_the_images_over_each_class(uneven: PreparedSplit) -> None:
    calibration = carve_calibration(uneven, 10)[1]
    for label in range(4):
        members = uneven.rows[uneven.labels[uneven.rows] == label].tolist()
        ranks = [members.index(row) for row in calibration.rows if uneven.labels[row] == label]
        assert max(ranks) >= len(members) // 2
        assert ranks != list(range(10))


def test_carve_calibration_copies_no_pixels(prepared: Path) -> None:
    whole = open_prepared(prepared).split("train")
    for part in carve_calibration(whole, 3):
        assert np.shares_memory(part.images, whole.images)
        assert part.classes == whole.classes


def test_carve_calibration_does_not_change_the_given_split(uneven: PreparedSplit) -> None:
    rows, labels = uneven.rows.copy(), uneven.labels.copy()
    carve_calibration(uneven, 5)
    np.testing.assert_array_equal(uneven.rows, rows)
    np.testing.assert_array_equal(uneven.labels, labels)


@pytest.mark.parametrize("per_class", [6, 7])
def test_carve_calibration_names_a_class_that_would_keep_nothing(uneven: PreparedSplit, per_class: int) -> None:
    scarce = np.flatnonzero(uneven.labels == 2)[:6]
    others = np.flatnonzero(uneven.labels != 2)
    few = replace(uneven, rows=np.sort(np.concatenate([scarce, others])))
    with pytest.raises(DataError, match=f"calibration_per_class is {per_class}, but class 'c2' has 6") as caught:
        carve_calibration(few, per_class)
    assert caught.value.exit_code == 1


def test_carve_calibration_may_leave_one_image_per_class(uneven: PreparedSplit) -> None:
    scarce = np.concatenate([np.flatnonzero(uneven.labels == label)[:6] for label in range(4)])
    train, _ = carve_calibration(replace(uneven, rows=np.sort(scarce)), 5)
    assert sorted(uneven.labels[train.rows].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.99])
def test_carve_calibration_takes_a_fraction_of_each_class_rounded_down(uneven: PreparedSplit, fraction: float) -> None:
    counts = np.bincount(uneven.labels[uneven.rows], minlength=4)
    train, calibration = carve_calibration(uneven, None, fraction)
    found = np.bincount(uneven.labels[calibration.rows], minlength=4).tolist()
    assert found == [math.floor(fraction * n) for n in counts]
    assert len(train) + len(calibration) == len(uneven)


def test_carve_calibration_takes_a_fifth_but_at_most_25_by_default() -> None:
    labels = np.repeat(np.arange(4), [4, 5, 60, 400])
    split = PreparedSplit("train", np.zeros((469, 3, 1, 1), np.uint8), labels, np.arange(469), CLASSES)
    calibration = carve_calibration(split, None)[1]
    assert np.bincount(labels[calibration.rows], minlength=4).tolist() == [0, 1, 12, 25]


def test_carve_calibration_larger_draws_contain_smaller_ones(uneven: PreparedSplit) -> None:
    few, more = (set(carve_calibration(uneven, n)[1].rows.tolist()) for n in (3, 8))
    assert few < more


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.25, 1.0])
def test_take_fraction_takes_its_fraction_of_each_class_rounded_up(uneven: PreparedSplit, fraction: float) -> None:
    counts = np.bincount(uneven.labels[uneven.rows], minlength=4)
    taken = take_fraction(uneven, fraction)
    assert np.bincount(uneven.labels[taken.rows], minlength=4).tolist() == [math.ceil(fraction * n) for n in counts]
    assert set(taken.rows.tolist()) <= set(uneven.rows.tolist())


def test_take_fraction_larger_fractions_contain_smaller_ones(uneven: PreparedSplit) -> None:
    small, large = (set(take_fraction(uneven, fraction).rows.tolist()) for fraction in (0.3, 0.6))
    assert small < large


@pytest.fixture
def digested(uneven: PreparedSplit) -> PreparedSplit:
    random = np.random.default_rng(0)
    return replace(uneven, digests=ImageDigests(*random.integers(0, 256, (2, 180, 16), dtype=np.uint8)))


def test_split_digest_depends_on_the_content_alone(digested: PreparedSplit) -> None:
    assert digested.digests is not None
    order = np.random.default_rng(2).permutation(180)  # the same images, stored elsewhere
    moved = replace(
        digested,
        name="other",
        labels=digested.labels[order],
        rows=np.argsort(order)[digested.rows],
        digests=ImageDigests(digested.digests.pixels[order], digested.digests.sources[order]),
    )
    for digest in (split_digest, source_digest):
        assert digest(moved) == digest(digested)


def test_split_digest_depends_on_every_part_of_a_split(digested: PreparedSplit) -> None:
    """Labels, rows, pixels and classes are; images outside its rows are not."""
    assert digested.digests is not None
    labels, pixels = digested.labels.copy(), digested.digests.pixels.copy()
    labels[20] = (labels[20] + 1) % 4
    pixels[25, 3] ^= 1
    changed = [
        replace(digested, labels=labels),
        replace(digested, digests=ImageDigests(pixels, digested.digests.sources)),
        replace(digested, rows=digested.rows[1:]),
        replace(digested, rows=digested.rows[::-1]),
        replace(digested, classes=(*CLASSES[:3], ClassInfo("other", "class 3"))),
    ]
    assert len({split_digest(split) for split in [digested, *changed]}) == 6
    labels, pixels = digested.labels.copy(), digested.digests.pixels.copy()
    labels[0], pixels[0] = (labels[0] + 1) % 4, 0
    outside = replace(digested, labels=labels, digests=ImageDigests(pixels, digested.digests.sources))
    assert split_digest(outside) == split_digest(digested)


def test_source_digest_is_equal_for_two_preparations_of_the_same_files(official: Path, tmp_path: Path) -> None:
    small, large = (
        open_prepared(tmp_path / f"{size}").split("val")
        for size in (16, 64)
        if prepare([official], tmp_path / f"{size}", PrepareOptions(size=size))
    )
    assert source_digest(small) == source_digest(large)
    assert split_digest(small) != split_digest(large)
