"""Turns Ctrl-C, SIGTERM and a cluster's SIGUSR1 into a request to stop at the next safe point."""

from __future__ import annotations

import atexit
import signal
import threading
from types import FrameType

# Clusters send SIGUSR1 some time before they reclaim a machine.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopSignals:
    """Records stop signals while active; a SIGINT after another signal interrupts as usual.

    Attributes:
        received: the first signal, or None.
        outcome_is_known: set when everything is written; signals are ignored from then on.
    """

    received: signal.Signals | None = None
    outcome_is_known = False

    def __enter__(self) -> StopSignals:
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def stay_until_exit(self) -> StopSignals:
        """Becomes active for the rest of the process, including its exit, when Python's handlers no longer run."""
        self.__enter__()
        atexit.register(self._ignore)
        return self

    def requested(self) -> bool:
        """Tells whether a signal was received."""
        return self.received is not None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.outcome_is_known:
            return
        if self.received is None:
            self.received = signal.Signals(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def _ignore(self) -> None:
        for number in self._previous:
            if signal.getsignal(number) == self._receive:
                signal.signal(number, signal.SIG_IGN)
