"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor
from tqdm import tqdm

from greenedge.data.loader import Batch, iterate_batches
from greenedge.data.prepared import PreparedSplit
from greenedge.errors import TrainingError
from greenedge.training.agreement import check_same_weights
from greenedge.training.average import LastEpochsAverage
from greenedge.training.finite import check_finite, not_finite
from greenedge.training.history import ends_early, mean_accuracy
from greenedge.training.kept_features import FeatureBatch, HeadsOnFeatures
from greenedge.training.seeds import derive_seed
from greenedge.training.settings import TrainSettings
from greenedge.training.state import TrainingState
from greenedge.training.step import make_step

# Steps between two readings of the running sums, each of which waits for a GPU.
_REPORT_EVERY = 10


@dataclass(frozen=True)
class EpochRecord:
    """The results of one epoch, on its augmented training images.

    Attributes:
        epoch: counted from 1.
        loss: mean over images of the weighted sum over exits.
        train_accuracy: of each exit, in [0, 1], against `train_labels`; None for an exit whose loss did not count.
        train_labels: `true`, or `dominant`: the label with the largest share after mixing.
        learning_rate: of the last step.
        seconds: spent in this process on this epoch's steps.
        images_per_second: over the steps of this process.
    """

    epoch: int
    loss: float
    train_accuracy: tuple[float | None, ...]
    train_labels: str
    learning_rate: float
    seconds: float
    images_per_second: float


def fit(
    state: TrainingState,
    split: PreparedSplit,
    settings: TrainSettings,
    stop_requested: Callable[[], bool],
    after_step: Callable[[], None] = lambda: None,
) -> Iterator[EpochRecord]:
    """Trains from where `state` stands to `settings.epochs`, or an early end, yielding after each epoch.

    An epoch consists of the whole batches that the images fill, in a new order each time; the remaining images are left
    out of this epoch. A split smaller than one batch is one batch.

    The caller adds each epoch's record to the state's history, which early stopping and schedules go by.

    Once `stop_requested` returns True, in one of the processes, the generator ends before the next step. `state` can
    then be saved and continued, with the same result as an uninterrupted run.

    Args:
        state: trained in place.
        split: training images.
        settings: of the training.
        stop_requested: asked before each step.
        after_step: called after each step but an epoch's last, to save the state perhaps.

    Raises:
        ProcessLostError: another process has ended.
        TrainingError: the loss or a number of the state is no longer finite, or memory has run out. The state must then
            not be saved.
    """
    trained = state.network if settings.kept is None else HeadsOnFeatures(state.network)
    network = torch.compile(trained) if settings.compile else trained
    steps = settings.steps_per_epoch(len(split))
    images_an_epoch = min(len(split), steps * settings.batch_size)
    first_epoch = state.epoch
    done = state.epoch * images_an_epoch + state.step * settings.batch_size

    bar: tqdm[NoReturn]
    # None: shown on a terminal.
    hidden = None if settings.processes.is_first else True
    with tqdm(total=settings.epochs * images_an_epoch, initial=done, unit=" images", disable=hidden) as bar:
        while state.epoch < settings.epochs and not ends_early(state.history, settings.early_stopping):
            bar.set_description(f"epoch {state.epoch + 1}/{settings.epochs}")
            order = epoch_order(len(split), settings.seed, state.epoch)
            order = order[state.step * settings.batch_size : images_an_epoch]

            state.network.train()
            state.network.freeze(settings.frozen_blocks(state.epoch))
            weights = settings.weights(state.epoch)
            accuracies = [mean_accuracy(each) for each in state.history]
            mixed, rate, started = False, 0.0, time.perf_counter()
            # One check per process is enough to notice damage on the disk.
            check = state.epoch == first_epoch
            with closing(step_batches(split, settings, order, state, check=check)) as batches:
                for batch in batches:
                    if settings.processes.any(stop_requested()):
                        _report(state.running_sums, weights, bar, mixed=mixed)
                        check_finite(state)
                        return

                    progress = (state.epoch + state.step / steps) / settings.epochs
                    rate = settings.learning_rate(progress, accuracies)
                    with enough_memory(settings.batch_size // settings.parts):
                        mixed = make_step(state, network, batch, settings, rate)
                    state.step += 1
                    bar.update(len(batch.targets))
                    if state.step % _REPORT_EVERY == 0 or state.step == steps:
                        _report(state.running_sums, weights, bar, mixed=mixed)
                    if state.step < steps:
                        after_step()

            _average_epoch(state, settings)
            # The last loss was computed before the last step, so the weights are checked too.
            check_finite(state)
            check_same_weights(state, settings.processes)
            seconds = time.perf_counter() - started
            loss, count, *right = state.running_sums.tolist()
            record = EpochRecord(
                epoch=state.epoch + 1,
                loss=loss / count,
                train_accuracy=tuple(r / count if index in weights else None for index, r in enumerate(right)),
                train_labels="dominant" if mixed else "true",
                learning_rate=rate,
                seconds=seconds,
                images_per_second=len(order) / seconds,
            )
            state.epoch, state.step = state.epoch + 1, 0
            state.running_sums.zero_()
            yield record


def step_batches(
    split: PreparedSplit, settings: TrainSettings, order: Tensor, state: TrainingState, *, check: bool
) -> Generator[Batch | FeatureBatch, None, None]:
    """What the steps of an epoch are made on: images, or the features that are kept of them."""
    device, kept = state.running_sums.device, settings.kept
    if kept is not None:
        yield from kept.batches(order, settings.batch_size, state.epoch, device)
        return
    crops = settings.crops_of(state.epoch)
    yield from iterate_batches(split, settings.batch_size, order, device, check=check, crops=crops)


@contextmanager
def enough_memory(images: int) -> Iterator[None]:
    """Turns the errors that torch raises when memory has run out into one sentence.

    Raises:
        TrainingError: a step with so many images does not fit into memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(
            f"there is not enough memory for {images} images at a time; compute a step in several parts "
            "(train.accumulate: 2 or more), or start another run (--out) with a smaller train.batch_size or "
            "data.image_size, or with train.precision: bf16"
        ) from None


def _average_epoch(state: TrainingState, settings: TrainSettings) -> None:
    """Takes the weights at an epoch's end into the average of the last epochs, if it is one of them."""
    if not isinstance(state.averaged, LastEpochsAverage):
        return
    if settings.averages(state.epoch):
        state.averaged.update_parameters(state.network)
    else:  # a run that has become longer begins its average anew
        state.averaged.begin_anew()


def _report(running_sums: Tensor, counted: Collection[int], bar: tqdm[NoReturn], *, mixed: bool) -> None:
    loss, count, *right = running_sums.tolist()
    if count == 0:
        return
    if not math.isfinite(loss):
        raise not_finite("the loss is")
    accuracies = "/".join(f"{100 * right[exit_index] / count:.1f}" for exit_index in sorted(counted))
    labels = " of dominant labels" if mixed else ""
    bar.set_postfix_str(f"loss {loss / count:.3f}, accuracy{labels} {accuracies} %")


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of so many images in an epoch, counted from 0."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
