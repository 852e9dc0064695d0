from __future__ import annotations

import time

import numpy as np
import pytest

from greenedge.cost.latency import latency, time_interleaved


def test_time_interleaved_alternates_the_order_and_drops_the_first_round() -> None:
    order: list[str] = []
    seconds = time_interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_time_interleaved_does_not_time_what_runs_before_a_turn() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("before")
        time.sleep(0.05)

    seconds = time_interleaved({"a": lambda: calls.append("run")}, rounds=2, before={"a": slow})
    assert calls == ["before", "run"] * 3
    assert max(seconds["a"]) < 0.05


def test_latency_percentiles_equal_numpys() -> None:
    values = np.random.default_rng(0).exponential(size=101).tolist()
    found = latency(values)
    assert [found.p50_seconds, found.p95_seconds, found.p99_seconds] == pytest.approx(
        [sorted(values)[50], sorted(values)[95], sorted(values)[99]]
    )
