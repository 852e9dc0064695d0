from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from greenedge.exits.baselines import Advantage, FoundAdvantage
from greenedge.exits.bootstrap import Interval
from greenedge.exits.sweep import Sweep
from greenedge.workflows.sweep import early_exit_verdict

CURVE = Sweep(
    np.array([0.0, 0.5, 1.0]),
    np.array([0.8, 0.81, 0.6]),
    np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]),
    np.array([4.4, 2.4, 1.0]),
)


def verdict(most: float, low: float, high: float, final: float = 0.8) -> str:
    evaluated: Any = SimpleNamespace(
        cost=SimpleNamespace(plain_gflops=4.0),
        outputs=SimpleNamespace(exit_accuracies=lambda: np.array([0.6, final])),
    )
    return early_exit_verdict(CURVE, evaluated, FoundAdvantage(Advantage(most, 2.4), Interval(low, high)))


def test_what_pays_is_said_with_its_lower_bound_and_what_it_buys() -> None:
    assert verdict(0.031, 0.022, 0.04) == (
        "early exit pays: at least 2.20 points (95 % bound) over fixed exits, alone or by lot, at the same cost; "
        "measured 3.10, at 2.4000 GFLOPs; the plain network's accuracy was reached on these images for 60 % of its cost"
    )
    assert verdict(0.031, 0.022, 0.04, final=0.9).endswith(
        "; the plain network's accuracy is not reached below its cost"
    )


def test_what_may_be_chance_does_not_pay_and_is_within_noise() -> None:
    text = verdict(0.003, -0.004, 0.012)
    assert text.startswith("early exit does not pay as far as these images tell")
    assert "0.30 points, at 2.4000 GFLOPs, which is within noise (95 % interval -0.40 to 1.20)" in text


@pytest.mark.parametrize("most", [0.0, -0.02])
def test_what_is_nowhere_above_fixed_exits_does_not_pay(most: float) -> None:
    text = verdict(most, most - 0.02, most + 0.02)
    assert text.startswith("early exit does not pay here: nowhere on the curve")
    assert "noise" not in text


def test_without_early_exits_there_is_nothing_to_choose() -> None:
    evaluated: Any = SimpleNamespace()
    text = early_exit_verdict(CURVE, evaluated, FoundAdvantage(Advantage(0.0, 4.0), None))
    assert text == "there is no early exit, so there is nothing to choose"
