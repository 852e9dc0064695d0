from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from greenedge.exits.baselines import Advantage, FoundAdvantage
from greenedge.exits.bootstrap import Interval
from greenedge.exits.sweep import Sweep
from greenedge.reporting.sweep import early_exit_verdict
from tests.reporting.test_plots import swept

CURVE = Sweep(
    np.array([0.0, 0.5, 1.0]),
    np.array([0.8, 0.81, 0.6]),
    np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]),
    np.array([4.4, 2.4, 1.0]),
)


def verdict(most: float, interval: Interval | None, final: float = 0.8) -> str:
    found = swept(CURVE, None, (0.6, final), (1.0, 4.0))
    found = dataclasses.replace(found, advantage=FoundAdvantage(Advantage(most, 2.4), interval))
    return early_exit_verdict(found)


def test_early_exit_verdict_pays_is_said_with_its_lower_bound_and_what_it_buys() -> None:
    assert verdict(0.031, Interval(0.022, 0.04)) == (
        "early exit pays: at least 2.20 points (95 % bound) over fixed exits, alone or randomly mixed, at the same "
        "cost; measured 3.10, at 2.4000 GFLOPs; the backbone's accuracy was reached on these images for 60 % of its "
        "cost"
    )
    assert verdict(0.031, Interval(0.022, 0.04), final=0.9).endswith(
        "; the backbone's accuracy is not reached below its cost"
    )


def test_early_exit_verdict_may_be_chance_does_not_pay_and_is_within_noise() -> None:
    text = verdict(0.003, Interval(-0.004, 0.012))
    assert text.startswith("early exit does not pay as far as these images tell")
    assert "0.30 points, at 2.4000 GFLOPs, which is within noise (95 % interval -0.40 to 1.20)" in text


@pytest.mark.parametrize("most", [0.0, -0.02])
def test_early_exit_verdict_nowhere_above_fixed_exits_does_not_pay(most: float) -> None:
    text = verdict(most, Interval(most - 0.02, most + 0.02))
    assert text.startswith("early exit does not pay here: nowhere on the curve")
    assert "noise" not in text


def test_early_exit_verdict_without_early_exits_there_is_nothing_to_choose() -> None:
    assert verdict(0.0, None) == "there is no early exit, so there is nothing to choose"
