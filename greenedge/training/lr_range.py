"""The learning rate range test (Smith 2017, section 3.3): a short training whose rate rises with every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from greenedge.config import RunConfig
from greenedge.config.origins import with_location
from greenedge.errors import ConfigError, UsageError
from greenedge.training.loop import enough_memory, epoch_order, step_batches
from greenedge.training.run import Run
from greenedge.training.step import make_step

# A loss so many times the lowest will not come down again.
_DIVERGED = 4.0
# Standard deviation, in steps, of the weights by which neighbouring losses are averaged.
_SMOOTHING_STEPS = 3.0
# A fall of the smoothed loss by less than this fraction may be noise.
_LEAST_FALL = 0.02


@dataclass(frozen=True)
class RateRange:
    """The rates that are tried, evenly spaced in their logarithm.

    Attributes:
        lowest: the first.
        highest: the last, unless the loss diverges before.
        steps: how many, each on another batch.
    """

    lowest: float = 1e-6
    highest: float = 1.0
    steps: int = 100

    def __post_init__(self) -> None:
        """Refuses what is no range."""
        if not 0 < self.lowest < self.highest < math.inf:
            raise UsageError(f"--lowest {self.lowest:g} must be above 0 and below --highest {self.highest:g}")
        if self.steps < 10:
            raise UsageError(f"--steps {self.steps} are too few to see anything; give at least 10")

    def rate(self, step: int) -> float:
        """Returns the rate of a step, counted from 0."""
        return float(self.lowest * (self.highest / self.lowest) ** (step / (self.steps - 1)))


@dataclass(frozen=True)
class LrRange:
    """What a range test found.

    Attributes:
        rates: of the steps made.
        losses: of their batches before the step, nats, summed over exits as in training.
        smoothed: the same, averaged over neighbouring steps.
        suggested: the rate at which the smoothed loss falls fastest from step to step; None where it does not fall.
        lowest_loss_at: the rate at which it is lowest; None where it does not fall.
        diverged: whether the test ended before the highest rate, since the loss had risen too far.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float | None
    lowest_loss_at: float | None
    diverged: bool


def check_range_test(config: RunConfig) -> None:
    """Refuses a config that has no range test.

    Raises:
        ConfigError: it trains heads on kept features.
    """
    with with_location(config, "train"):
        if config.train.kept_features is not None:
            raise ConfigError("has no range test; set it to null for one of the whole network", key="kept_features")


def find_lr_range(run: Run, wanted: RateRange) -> LrRange:
    """Trains with rising rates; the run's network is used up, and nothing is written.

    Raises:
        TrainingError: memory has run out.
    """
    losses = _losses(run, wanted)
    return judge_losses([wanted.rate(step) for step in range(len(losses))], losses, diverged=len(losses) < wanted.steps)


def judge_losses(rates: Sequence[float], losses: Sequence[float], *, diverged: bool) -> LrRange:
    """Finds the rate at which the loss falls fastest, up to where it is lowest.

    Args:
        rates: rising by a constant factor.
        losses: finite, one for each rate.
        diverged: whether there would have been more.
    """
    smoothed = _smoothed(np.array(losses))
    lowest = int(smoothed.argmin()) if len(smoothed) else 0
    suggested, lowest_loss_at = None, None
    if lowest > 0 and smoothed[lowest] < (1 - _LEAST_FALL) * smoothed[:lowest].max():
        slopes = np.gradient(smoothed[: lowest + 1])
        suggested, lowest_loss_at = rates[int(slopes.argmin())], rates[lowest]
    return LrRange(tuple(rates), tuple(losses), tuple(smoothed.tolist()), suggested, lowest_loss_at, diverged)


def _losses(run: Run, wanted: RateRange) -> list[float]:
    """Of each step, up to the one at which the loss has diverged; that one is left out where it is not finite."""
    state, settings, split = run.state, run.settings, run.splits.train
    steps_per_epoch = settings.steps_per_epoch(len(split))
    state.network.train()
    state.network.freeze(settings.frozen_blocks(0))
    losses: list[float] = []

    with tqdm(total=wanted.steps, unit=" steps", disable=None) as bar:
        for epoch in range(math.ceil(wanted.steps / steps_per_epoch)):
            order = epoch_order(len(split), settings.seed, epoch)[: steps_per_epoch * settings.batch_size]
            for batch in step_batches(split, settings, order, state, check=epoch == 0):
                state.running_sums.zero_()
                with enough_memory(settings.batch_size // settings.parts):
                    make_step(state, state.network, batch, settings, wanted.rate(len(losses)))
                state.step += 1  # of the first epoch always, whose blocks and exits are trained
                loss, images, *_ = state.running_sums.tolist()
                if not math.isfinite(loss):
                    return losses
                losses.append(loss / images)
                bar.update()
                if len(losses) == wanted.steps or losses[-1] > _DIVERGED * min(losses):
                    return losses
    return losses


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """Means of the neighbours of each loss, in both directions, so that nothing is shifted to higher rates."""
    distances = np.arange(len(losses))[:, None] - np.arange(len(losses))
    weights = np.exp(-0.5 * (distances / _SMOOTHING_STEPS) ** 2)
    smoothed: np.ndarray = (weights @ losses) / weights.sum(axis=1)
    return smoothed
