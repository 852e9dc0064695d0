"""When a training ends early, and that schedules see the accuracies of the epochs done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from greenedge.config.schema import EarlyStoppingConfig
from greenedge.training.history import HistoryRecord, ends_early
from tests.training.helpers import settings, tiny_state, train, train_split


def records(accuracies: Sequence[float]) -> list[HistoryRecord]:
    return [
        HistoryRecord(epoch, 1.0, (0.5, 0.5), "true", 0.1, 1.0, 1.0, "calibration", (accuracy - 0.1, accuracy + 0.1))
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


@pytest.mark.parametrize(
    ("accuracies", "patience", "min_delta", "ends_after"),
    [
        ([0.3, 0.4, 0.5, 0.6], 1, 0.0, None),
        ([0.3, 0.4, 0.4, 0.6], 1, 0.0, 3),  # equal is not higher
        ([0.3, 0.5, 0.4, 0.45, 0.49, 0.6], 3, 0.0, 5),
        ([0.3, 0.5, 0.4, 0.51, 0.4, 0.4], 2, 0.0, 6),
        ([0.3, 0.35, 0.38, 0.41, 0.42], 2, 0.1, 3),  # slow rises count from the last epoch that was a gain
        ([0.3, 0.35, 0.38, 0.41, 0.42], 3, 0.1, None),
    ],
)
def test_ends_early_after_so_many_epochs_without_a_gain(
    accuracies: list[float], patience: int, min_delta: float, ends_after: int | None
) -> None:
    stopping = EarlyStoppingConfig(patience, min_delta)
    ended = [ends_early(records(accuracies[:done]), stopping) for done in range(len(accuracies) + 1)]
    assert ended.index(True) == ends_after if ends_after else not any(ended)
    assert not ends_early(records(accuracies), None)


def test_fit_ends_early_and_does_not_go_on(prepared: Path) -> None:
    state = tiny_state()
    setting = settings(epochs=9, early_stopping=EarlyStoppingConfig(patience=3))
    # The helper notes the same accuracy after each epoch: the first is a gain, the three after it are none.
    assert len(train(state, train_split(prepared), setting)) == 4
    assert train(state, train_split(prepared), setting) == []
    more = settings(epochs=9, early_stopping=EarlyStoppingConfig(patience=4))
    assert len(train(state, train_split(prepared), more)) == 1


def test_fit_gives_schedules_the_accuracies_of_the_epochs_done(prepared: Path) -> None:
    seen: list[list[float]] = []

    def rate(_: float, accuracies: Sequence[float]) -> float:
        seen.append(list(accuracies))
        return 0.01

    train(tiny_state(), train_split(prepared), settings(epochs=3, learning_rate=rate))
    assert seen == [[]] * 3 + [[0.5]] * 3 + [[0.5, 0.5]] * 3
