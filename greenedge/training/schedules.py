"""Learning rate schedules: pure functions of the progress in [0, 1) and the optimizer's learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from greenedge.config.convert import AtLeastOne, FractionAboveZero, FractionBelowOne, Positive

# Progress is a quotient: the epoch that begins at a milestone must not miss it by a rounding error.
_ROUNDING = 1e-9
Milestones = tuple[FractionBelowOne, ...]


def constant(progress: float, lr: float) -> float:  # noqa: ARG001  # every schedule has the same signature
    """Returns the optimizer's rate throughout."""
    return lr


def cosine(progress: float, lr: float, *, warmup: FractionBelowOne = 0.0, final: FractionBelowOne = 0.0) -> float:
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


def step(progress: float, lr: float, *, every: FractionAboveZero = 0.3, factor: FractionAboveZero = 0.1) -> float:
    """Multiplies the rate by `factor` each time that a fraction of the training is done (torch's StepLR).

    Args:
        progress: fraction of the training done.
        lr: the first rate.
        every: the fraction; of 30 epochs, 0.3 are 9.
        factor: of the rate, in (0, 1].
    """
    return lr * factor ** math.floor(progress / every + _ROUNDING)


def multistep(
    progress: float, lr: float, *, milestones: Milestones = (0.5, 0.75), factor: FractionAboveZero = 0.1
) -> float:
    """Multiplies the rate by `factor` at each milestone (torch's MultiStepLR).

    Args:
        progress: fraction of the training done.
        lr: the first rate.
        milestones: fractions of the training; of 90 epochs, [0.5, 0.75] are the ends of epochs 45 and 67.5.
        factor: of the rate, in (0, 1].
    """
    return lr * factor ** sum(progress + _ROUNDING >= each for each in milestones)


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "cosine": cosine,
    "multistep": multistep,
    "one_cycle": one_cycle,
    "step": step,
}


def _anneal(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
