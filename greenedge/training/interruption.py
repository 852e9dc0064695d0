"""Ctrl-C, SIGTERM and a cluster's SIGUSR1 as a request to stop at the next safe place."""

from __future__ import annotations

import atexit
import signal
import threading
from types import FrameType

# SIGUSR1 is what clusters send some time before they take a machine away.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopSignals:
    """While active, a signal only raises a flag; a SIGINT after another signal interrupts as usual.

    Attributes:
        received: the first signal that came, or None.
        outcome_is_known: set when all is written: from then on no signal changes how the command ends.
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
        """Becomes active for the rest of the process, its last moments included, in which Python has no handlers."""
        self.__enter__()
        atexit.register(self._ignore)
        return self

    def requested(self) -> bool:
        """Whether a signal came."""
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
