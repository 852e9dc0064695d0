"""Learning rate schedules: pure functions of the progress in [0, 1), the optimizer's learning rate and the accuracies.

The accuracies are those of the epochs done, on the calibration images, in the mean over the exits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from greenedge.config.convert import (
    AtLeastOne,
    CountOrZero,
    FractionAboveZero,
    FractionBelowOne,
    NonNegative,
    Positive,
)

# Progress is a quotient: the epoch that begins at a milestone must not miss it by a rounding error.
_ROUNDING = 1e-9
Milestones = tuple[FractionBelowOne, ...]


def constant(_progress: float, lr: float, _accuracies: Sequence[float] = ()) -> float:
    """Returns the optimizer's rate throughout."""
    return lr


def cosine(
    progress: float,
    lr: float,
    _accuracies: Sequence[float] = (),
    *,
    warmup: FractionBelowOne = 0.0,
    final: FractionBelowOne = 0.0,
) -> float:
    """Follows half a cosine down from `lr` (Loshchilov and Hutter 2017), after a linear warm-up.

    Args:
        progress: fraction of the training done.
        lr: the highest rate.
        warmup: fraction of the training in which the rate rises from 0.
        final: the last rate, as a factor of `lr`.
    """
    if progress < warmup:
        return lr * progress / warmup
    return _anneal(lr, lr * final, (progress - warmup) / (1 - warmup))


def one_cycle(
    progress: float,
    lr: float,
    _accuracies: Sequence[float] = (),
    *,
    max_lr: Positive | None = None,
    warmup: FractionBelowOne = 0.3,
    start: AtLeastOne = 25.0,
    end: AtLeastOne = 1e4,
) -> float:
    """Follows one cycle ("super-convergence", Smith and Topin 2018), in the two cosine phases of torch's OneCycleLR.

    The rate rises from max_lr / start to max_lr, then falls to max_lr / (start * end).

    Args:
        progress: fraction of the training done.
        lr: the optimizer's rate, which is the highest where `max_lr` is null.
        max_lr: the highest rate.
        warmup: fraction of the training in which the rate rises.
        start: how many times smaller the first rate is than the highest.
        end: how many times smaller the last rate is than the first.
    """
    highest = lr if max_lr is None else max_lr
    lowest = highest / start
    if progress < warmup:
        return _anneal(lowest, highest, progress / warmup)
    return _anneal(highest, lowest / end, (progress - warmup) / (1 - warmup))


def step(
    progress: float,
    lr: float,
    _accuracies: Sequence[float] = (),
    *,
    every: FractionAboveZero = 0.3,
    factor: FractionAboveZero = 0.1,
) -> float:
    """Multiplies the rate by `factor` each time that a fraction of the training is done (torch's StepLR).

    Args:
        progress: fraction of the training done.
        lr: the first rate.
        every: the fraction; of 30 epochs, 0.3 are 9.
        factor: of the rate, in (0, 1].
    """
    return lr * factor ** math.floor(progress / every + _ROUNDING)


def multistep(
    progress: float,
    lr: float,
    _accuracies: Sequence[float] = (),
    *,
    milestones: Milestones = (0.5, 0.75),
    factor: FractionAboveZero = 0.1,
) -> float:
    """Multiplies the rate by `factor` at each milestone (torch's MultiStepLR).

    Args:
        progress: fraction of the training done.
        lr: the first rate.
        milestones: fractions of the training; of 90 epochs, [0.5, 0.75] are the ends of epochs 45 and 67.5.
        factor: of the rate, in (0, 1].
    """
    return lr * factor ** sum(progress + _ROUNDING >= each for each in milestones)


def plateau(
    _progress: float,
    lr: float,
    accuracies: Sequence[float] = (),
    *,
    factor: FractionAboveZero = 0.1,
    patience: CountOrZero = 5,
    min_delta: NonNegative = 0.0,
    cooldown: CountOrZero = 0,
    final: FractionBelowOne = 0.0,
) -> float:
    """Multiplies the rate by `factor` where the calibration accuracy no longer rises (torch's ReduceLROnPlateau).

    Args:
        lr: the first rate.
        accuracies: of the epochs done.
        factor: of the rate, in (0, 1].
        patience: epochs without a higher accuracy after which one more lowers the rate.
        min_delta: by how much an accuracy, in [0, 1], must exceed the best so far to count as higher.
        cooldown: epochs after each lowering that do not count.
        final: the lowest rate, as a factor of `lr`.
    """
    rate, best, waited, cooling = lr, -math.inf, 0, 0
    for accuracy in accuracies:
        higher = accuracy > best + min_delta
        best, waited = (accuracy, 0) if higher else (best, waited + 1)
        if cooling > 0:
            cooling, waited = cooling - 1, 0
        if waited > patience:
            rate, waited, cooling = max(rate * factor, lr * final), 0, cooldown
    return rate


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "cosine": cosine,
    "multistep": multistep,
    "one_cycle": one_cycle,
    "plateau": plateau,
    "step": step,
}


def _anneal(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
