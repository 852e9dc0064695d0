"""Runs damaged files through their readers and says what was wrong with how each was taken."""

from __future__ import annotations

import contextlib
import io
import math
import resource
import signal
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from greenedge.errors import GreenedgeError, printable
from tests.fuzz.targets import Target

SECONDS, GIGABYTES = 10, 1.0


class _TooSlowError(BaseException):
    """A reader did not come back."""


@dataclass
class Tally:
    """What became of the cases of one target.

    Attributes:
        counts: outcome -> cases.
        faults: of each case that was taken wrongly, its number and what was wrong.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)


def mutated(target: Target, sound: bytes, name: str, case: int) -> bytes:
    """The content of a case, which its name and number decide."""
    random = np.random.default_rng((zlib.crc32(name.encode()), case))
    mutation = target.mutations[int(random.integers(len(target.mutations)))]
    return mutation(sound, random)


def run_target(name: str, target: Target, cases: range) -> Tally:
    """Reads each case in this process; the sound file stands there again afterwards."""
    tally, sound = Tally(), target.path.read_bytes()
    with _quiet():
        expected = target.read(target.path)
    try:
        for case in cases:
            content = mutated(target, sound, name, case)
            target.path.write_bytes(content)
            outcome, fault = _outcome(target, expected, unchanged=content == sound)
            tally.counts[outcome] += 1
            if fault is None and target.path.read_bytes() != content:
                fault = "the file was changed by reading it"
            if fault is not None:
                tally.faults.append((case, fault))
    finally:
        target.path.write_bytes(sound)
    return tally


def _outcome(target: Target, expected: object, *, unchanged: bool) -> tuple[str, str | None]:
    """`refused` or `read`, and what is wrong with that."""
    before = _peak_gigabytes()
    fault = None
    try:
        with _limited(), _quiet():
            found = target.read(target.path)
        outcome = "read"
        if target.guarded and found is not None and found != expected and not unchanged:
            fault = "a damaged file was taken for sound"
    except GreenedgeError as error:
        outcome, sentence = "refused", str(error)
        lines = sentence.split("\n")  # a config's mistakes have a line each
        if not sentence.strip() or lines != list(map(printable, lines)):
            fault = f"a poor sentence: {sentence[:200]!r}"
    except _TooSlowError:
        outcome, fault = "hang", f"no answer within {SECONDS} s"
    except Exception as error:  # noqa: BLE001  # whatever comes out is what is looked for
        outcome, fault = "traceback", f"{type(error).__name__}: {str(error)[:200]}"
    if math.isfinite(before) and _peak_gigabytes() - before > GIGABYTES:
        fault = f"took {_peak_gigabytes() - before:.1f} GB"
    return outcome, fault


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _TooSlowError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def replayed(path: Path, content: bytes) -> None:
    """Leaves a case where it can be looked at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def elapsed(since: float) -> str:
    """Seconds, for people."""
    return f"{time.monotonic() - since:.0f} s"
