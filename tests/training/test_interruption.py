from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from greenedge.training.interruption import StopSignals

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    """Installs handlers for these tests, so that a failing test cannot end the test run."""

    def unexpected(number: int, _: object) -> None:
        raise AssertionError(f"signal {number} was not handled")

    before = {number: signal.signal(number, unexpected) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_stop_signals_only_record_the_first_signal(number: signal.Signals) -> None:
    with StopSignals() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), number)
        assert stop.requested()
        assert stop.received is number


@pytest.mark.parametrize("first", SIGNALS)
def test_stop_signals_interrupt_on_a_second_sigint(first: signal.Signals) -> None:
    with StopSignals() as stop:
        os.kill(os.getpid(), first)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested()


def test_stop_signals_ignore_a_second_sigterm() -> None:
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received is signal.SIGTERM


@pytest.mark.parametrize("failing", [False, True])
def test_stop_signals_restore_the_previous_handlers(failing: bool) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with StopSignals():
            assert [signal.getsignal(number) for number in SIGNALS] != before
            if failing:
                raise KeyError
    except KeyError:
        assert failing
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_stop_signals_start_without_a_signal() -> None:
    with StopSignals():
        os.kill(os.getpid(), signal.SIGINT)
    with StopSignals() as again:
        assert not again.requested()


def test_stop_signals_do_nothing_outside_the_main_thread() -> None:
    seen: list[object] = []

    def work() -> None:
        with StopSignals() as stop:
            seen.extend([stop.requested(), *(signal.getsignal(number) for number in SIGNALS)])

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, *before]


@pytest.mark.parametrize("number", SIGNALS)
def test_stop_signals_are_ignored_once_the_outcome_is_known(number: signal.Signals) -> None:
    with StopSignals() as stop:
        stop.outcome_is_known = True
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert stop.received is None
