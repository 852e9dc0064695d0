from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.exits.areas import dominated_area, pareto_front, trapezoid_area

curves = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 10)), min_size=1, max_size=8).map(
    lambda pairs: (np.array([p[0] for p in pairs]) / 10, np.array([p[1] for p in pairs]) / 10)
)


def test_trapezoid_of_three_points_by_hand() -> None:
    # 50 % at 1, 60 % at 2, 80 % at 4 GFLOPs, given out of order: 1 * 55 + 2 * 70.
    assert trapezoid_area(np.array([2.0, 1.0, 4.0]), np.array([0.6, 0.5, 0.8])) == pytest.approx(195)


def test_one_point_has_no_trapezoid() -> None:
    assert trapezoid_area(np.array([1.0]), np.array([0.5])) == 0


def test_dominated_area_by_hand() -> None:
    # Nothing up to 1, 50 % from 1 to 3 (the dearer, worse point at 2 is dominated), 70 % from 3 to 4.
    costs, accuracies = np.array([3.0, 1.0, 2.0]), np.array([0.7, 0.5, 0.4])
    assert dominated_area(costs, accuracies, 4.0) == pytest.approx(2 * 50 + 70)


def test_points_dearer_than_the_reference_count_for_nothing() -> None:
    assert dominated_area(np.array([1.0, 5.0]), np.array([0.5, 0.9]), 2.0) == pytest.approx(50)
    assert dominated_area(np.array([5.0]), np.array([0.9]), 2.0) == 0


@given(curves)
def test_dominated_area_equals_a_fine_sum(curve: tuple[np.ndarray, np.ndarray]) -> None:
    costs, accuracies = curve
    centres = (np.arange(2000) + 0.5) / 1000  # every 0.001 up to 2; costs are multiples of 0.1
    best = [max((a for g, a in zip(costs, accuracies, strict=True) if g <= x), default=0) for x in centres]
    assert dominated_area(costs, accuracies, 2.0) == pytest.approx(100 * sum(best) / 1000)


@given(curves, st.integers(1, 20), st.integers(0, 10))
def test_one_more_point_never_lowers_the_dominated_area(
    curve: tuple[np.ndarray, np.ndarray], cost: int, accuracy: int
) -> None:
    more = np.append(curve[0], cost / 10), np.append(curve[1], accuracy / 10)
    assert dominated_area(*more, 2.0) >= dominated_area(*curve, 2.0) - 1e-9


@given(curves)
def test_the_front_is_what_nothing_beats(curve: tuple[np.ndarray, np.ndarray]) -> None:
    costs, accuracies = curve
    points = set(zip(costs.tolist(), accuracies.tolist(), strict=True))
    unbeaten = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)}
    front = pareto_front(costs, accuracies)
    assert [(costs[i], accuracies[i]) for i in front] == sorted(unbeaten)
