"""The training loop: one function that reads like the algorithm."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from greenedge.data.loader import Batch, InputTransform, iterate_batches
from greenedge.data.prepared import PreparedSplit
from greenedge.errors import TrainingError
from greenedge.training.finite import check_finite, not_finite
from greenedge.training.optimizers import set_lr
from greenedge.training.state import TrainingState

_REPORT_EVERY = 10  # steps between two readings of the running sums, each of which waits for a GPU


@dataclass(frozen=True)
class TrainSettings:
    """How a step is made.

    Attributes:
        epochs: to be done in all.
        batch_size: images a step.
        seed: of the order of the images, the augmentations and the network's own randomness.
        augment: applied to each batch in order, (batch, generator) -> batch.
        transform: from stored images to the network's input.
        loss: (logits, targets) -> mean loss of one exit.
        exit_weights: factor of each exit's loss.
        learning_rate: progress in [0, 1) -> learning rate.
        gradient_clip_norm: largest norm of the whole gradient, or None.
        autocast: the type of cheap operations, or None for float32.
        compile: run the network through `torch.compile`.
        trunk_only_epochs: first epochs in which the final exit's loss alone counts.
        frozen: (blocks, epochs): that many first blocks stay as they are for the first epochs.
    """

    epochs: int
    batch_size: int
    seed: int
    augment: tuple[Callable[[Batch, Generator], Batch], ...]
    transform: InputTransform
    loss: Callable[[Tensor, Tensor], Tensor]
    exit_weights: tuple[float, ...]
    learning_rate: Callable[[float], float]
    gradient_clip_norm: float | None = None
    autocast: torch.dtype | None = None
    compile: bool = False
    trunk_only_epochs: int = 0
    frozen: tuple[tuple[int, int], ...] = ()

    def frozen_blocks(self, epoch: int) -> int:
        """How many first blocks stay as they are in an epoch, counted from 0."""
        return max((blocks for blocks, epochs in self.frozen if epoch < epochs), default=0)

    def weights(self, epoch: int) -> dict[int, float]:
        """Exit -> factor of its loss in an epoch, counted from 0; exits whose loss does not count are left out."""
        final = len(self.exit_weights) - 1
        return {
            exit_index: weight
            for exit_index, weight in enumerate(self.exit_weights)
            if weight > 0 and (exit_index == final or epoch >= self.trunk_only_epochs)
        }

    def steps_per_epoch(self, images: int) -> int:
        """Whole batches in that many images, but at least one."""
        return max(1, images // self.batch_size)


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch of training showed, on the augmented training images as they came.

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
    state: TrainingState, split: PreparedSplit, settings: TrainSettings, stop_requested: Callable[[], bool]
) -> Iterator[EpochRecord]:
    """Trains from where `state` stands to `settings.epochs`, yielding after each epoch.

    An epoch is as many whole batches as the images fill, in a new order each time; what is left over waits for another
    epoch. A split smaller than one batch is one batch.

    When `stop_requested` says so the generator ends after the step at hand; `state` can be saved and continued from
    there, and the result is that of an unbroken run.

    Args:
        state: changed in place.
        split: training images.
        settings: how a step is made.
        stop_requested: asked before each step.

    Raises:
        TrainingError: the loss, or a number of the state, is no longer finite, or memory has run out. The state is then
            not to be saved.
    """
    device = state.running_sums.device
    network = torch.compile(state.network) if settings.compile else state.network
    steps = settings.steps_per_epoch(len(split))
    images_an_epoch = min(len(split), steps * settings.batch_size)
    first_epoch = state.epoch
    done = state.epoch * images_an_epoch + state.step * settings.batch_size
    bar: tqdm[NoReturn]
    with tqdm(total=settings.epochs * images_an_epoch, initial=done, unit=" images", disable=None) as bar:
        while state.epoch < settings.epochs:
            bar.set_description(f"epoch {state.epoch + 1}/{settings.epochs}")
            order = _epoch_order(len(split), settings.seed, state.epoch)
            order = order[state.step * settings.batch_size : images_an_epoch]
            state.network.train()
            state.network.freeze(settings.frozen_blocks(state.epoch))
            weights = settings.weights(state.epoch)
            mixed, rate, started = False, 0.0, time.perf_counter()
            check = state.epoch == first_epoch  # once a process is enough to notice damage on the disk
            for batch in iterate_batches(split, settings.batch_size, order, device, check=check):
                if stop_requested():
                    _report(state.running_sums, weights, bar, mixed=mixed)
                    check_finite(state)  # it will be saved
                    return
                rate = settings.learning_rate((state.epoch + state.step / steps) / settings.epochs)
                with enough_memory(settings.batch_size):
                    mixed = _step(state, network, batch, settings, rate)
                state.step += 1
                bar.update(len(batch.images))
                if state.step % _REPORT_EVERY == 0 or state.step == steps:
                    _report(state.running_sums, weights, bar, mixed=mixed)
            check_finite(state)  # the loss before a step says nothing of the weights after it
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


def _step(
    state: TrainingState, network: Callable[..., list[Tensor]], batch: Batch, settings: TrainSettings, rate: float
) -> bool:
    """One step of the optimizer; whether the labels were mixed."""
    torch.manual_seed(_seed(settings.seed, "network", state.epoch, state.step))  # dropout and stochastic depth
    generator = torch.Generator().manual_seed(_seed(settings.seed, "augment", state.epoch, state.step))
    for augment in settings.augment:
        batch = augment(batch, generator)
    images, targets = settings.transform(batch.images), batch.targets
    weights = settings.weights(state.epoch)
    set_lr(state.optimizer, rate)

    with torch.autocast(images.device.type, settings.autocast, enabled=settings.autocast is not None):
        logits = network(images, tuple(weights))
        losses = [settings.loss(exit_logits, targets) for exit_logits in logits]
        loss = torch.stack([w * each for w, each in zip(weights.values(), losses, strict=True)]).sum()
    state.optimizer.zero_grad()  # to None: what has no loss is neither decayed nor carried on by momentum
    loss.backward()  # type: ignore[no-untyped-call]
    if settings.gradient_clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_clip_norm)
    state.optimizer.step()
    if state.averaged is not None:
        state.averaged.update_parameters(state.network)

    mixed = targets.is_floating_point()
    labels = targets.argmax(1) if mixed else targets
    with torch.no_grad():  # sums that stay on the device: nothing here waits for a GPU
        state.running_sums[0] += loss.detach() * len(labels)
        state.running_sums[1] += len(labels)
        for exit_index, exit_logits in zip(weights, logits, strict=True):
            state.running_sums[2 + exit_index] += (exit_logits.argmax(1) == labels).sum()
    return mixed


@contextmanager
def enough_memory(images: int) -> Iterator[None]:
    """Turns what torch raises where memory has run out into one sentence.

    Raises:
        TrainingError: a step of so many images does not fit into memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(
            f"there is not enough memory for {images} images at a time; start another run (--out) with a smaller "
            "train.batch_size or data.image_size, or with train.precision: bf16"
        ) from None


def _report(running_sums: Tensor, counted: Collection[int], bar: tqdm[NoReturn], *, mixed: bool) -> None:
    loss, count, *right = running_sums.tolist()
    if count == 0:
        return
    if not math.isfinite(loss):
        raise not_finite("the loss is")
    accuracies = "/".join(f"{100 * right[exit_index] / count:.1f}" for exit_index in sorted(counted))
    labels = " of dominant labels" if mixed else ""
    bar.set_postfix_str(f"loss {loss / count:.3f}, accuracy{labels} {accuracies} %")


def _epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(_seed(seed, "order", epoch)))


def _seed(seed: int, purpose: str, *position: int) -> int:
    """A seed of its own for each purpose and position, whatever the run's seed."""
    text = f"{seed} {purpose} {position}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
