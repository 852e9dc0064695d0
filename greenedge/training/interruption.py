"""Ctrl-C and SIGTERM as a request to stop at the next safe place."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StopSignals:
    """While active, the first SIGINT or SIGTERM only raises a flag; a second SIGINT interrupts as usual.

    Attributes:
        received: the signal that came, or None.
    """

    received: signal.Signals | None = None

    def __enter__(self) -> StopSignals:
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Whether a signal came."""
        return self.received is not None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
