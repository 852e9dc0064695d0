"""The training loop."""

from __future__ import annotations

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
from greenedge.training.kept_features import FeatureBatch, HeadsOnFeatures, KeptFeatures
from greenedge.training.objectives import Objective, StepOutputs, WeightedSum
from greenedge.training.optimizers import set_lr
from greenedge.training.seeds import derive_seed
from greenedge.training.state import TrainingState

# Steps between two readings of the running sums, each of which waits for a GPU.
_REPORT_EVERY = 10


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a training.

    Attributes:
        epochs: number of epochs in all.
        batch_size: images per step.
        seed: of the order of the images, the augmentations and the network's dropout.
        augment: functions (batch, generator) -> batch, applied in order.
        transform: from stored images to the network's input.
        loss: (logits, targets) -> the loss of each image at one exit, (B,).
        exit_weights: factor of each exit's loss.
        learning_rate: progress in [0, 1) -> learning rate.
        gradient_clip_norm: largest norm of the whole gradient, or None.
        autocast: the type of autocast operations, or None for float32.
        compile: run the network through `torch.compile`.
        trunk_only_epochs: number of first epochs in which only the final exit's loss counts.
        frozen: pairs (blocks, epochs): so many first blocks are not trained in so many first epochs.
        objective: from what all exits gave to the number that a step descends.
        teacher: images of a batch, as they are stored -> logits (B, C) that the objective may use, or None.
        class_weights: float32 (C,), a factor of the loss of each class's images, or None.
        kept: features of the frozen backbone, on which the heads are trained in place of the images, or None.
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
    objective: Objective = WeightedSum()
    teacher: Callable[[Tensor], Tensor] | None = None
    class_weights: Tensor | None = None
    kept: KeptFeatures | None = None

    def frozen_blocks(self, epoch: int) -> int:
        """Returns how many first blocks are not trained in an epoch, counted from 0."""
        return max((blocks for blocks, epochs in self.frozen if epoch < epochs), default=0)

    def weights(self, epoch: int) -> dict[int, float]:
        """Returns exit -> factor of its loss in an epoch, counted from 0, for the exits whose loss counts."""
        final = len(self.exit_weights) - 1
        return {
            exit_index: weight
            for exit_index, weight in enumerate(self.exit_weights)
            if weight > 0 and (exit_index == final or epoch >= self.trunk_only_epochs)
        }

    def steps_per_epoch(self, images: int) -> int:
        """Returns the number of whole batches in so many images, but at least one."""
        return max(1, images // self.batch_size)


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
    state: TrainingState, split: PreparedSplit, settings: TrainSettings, stop_requested: Callable[[], bool]
) -> Iterator[EpochRecord]:
    """Trains from where `state` stands to `settings.epochs`, yielding after each epoch.

    An epoch consists of the whole batches that the images fill, in a new order each time; the remaining images are left
    out of this epoch. A split smaller than one batch is one batch.

    Once `stop_requested` returns True, the generator ends before the next step. `state` can then be saved and
    continued, with the same result as an uninterrupted run.

    Args:
        state: trained in place.
        split: training images.
        settings: of the training.
        stop_requested: asked before each step.

    Raises:
        TrainingError: the loss or a number of the state is no longer finite, or memory has run out. The state must then
            not be saved.
    """
    device = state.running_sums.device
    trained = state.network if settings.kept is None else HeadsOnFeatures(state.network)
    network = torch.compile(trained) if settings.compile else trained
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
            # One check per process is enough to notice damage on the disk.
            check = state.epoch == first_epoch
            images = iterate_batches(split, settings.batch_size, order, device, check=check)
            kept = settings.kept
            for batch in images if kept is None else kept.batches(order, settings.batch_size, state.epoch, device):
                if stop_requested():
                    _report(state.running_sums, weights, bar, mixed=mixed)
                    check_finite(state)
                    return

                rate = settings.learning_rate((state.epoch + state.step / steps) / settings.epochs)
                with enough_memory(settings.batch_size):
                    mixed = _step(state, network, batch, settings, rate)
                state.step += 1
                bar.update(len(batch.targets))
                if state.step % _REPORT_EVERY == 0 or state.step == steps:
                    _report(state.running_sums, weights, bar, mixed=mixed)

            # The last loss was computed before the last step, so the weights are checked too.
            check_finite(state)
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
    state: TrainingState,
    network: Callable[..., list[Tensor]],
    batch: Batch | FeatureBatch,
    settings: TrainSettings,
    rate: float,
) -> bool:
    """Makes one step of the optimizer and tells whether the labels were mixed."""
    # The global seed is for dropout and stochastic depth.
    torch.manual_seed(derive_seed(settings.seed, "network", state.epoch, state.step))
    inputs, targets, teacher_logits = _inputs(state, batch, settings)
    weights = settings.weights(state.epoch)
    set_lr(state.optimizer, rate)

    with torch.autocast(targets.device.type, settings.autocast, enabled=settings.autocast is not None):
        logits = network(inputs, tuple(weights), settings.objective.head_gradient)
        losses = [_weighted_mean(settings.loss(each, targets), targets, settings.class_weights) for each in logits]
        loss = settings.objective(StepOutputs(logits, losses, tuple(weights.values()), teacher_logits))

    # Gradients become None, so that parameters without a loss are moved neither by decay nor by momentum.
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if settings.gradient_clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_clip_norm)
    state.optimizer.step()
    if state.averaged is not None:
        state.averaged.update_parameters(state.network)

    mixed = targets.is_floating_point()
    labels = targets.argmax(1) if mixed else targets
    # The sums are kept on the device, so that nothing here waits for a GPU.
    with torch.no_grad():
        state.running_sums[0] += loss.detach() * len(labels)
        state.running_sums[1] += len(labels)
        for exit_index, exit_logits in zip(weights, logits, strict=True):
            state.running_sums[2 + exit_index] += (exit_logits.argmax(1) == labels).sum()
    return mixed


def _inputs(
    state: TrainingState, batch: Batch | FeatureBatch, settings: TrainSettings
) -> tuple[Tensor | FeatureBatch, Tensor, Tensor | None]:
    """What the network reads, the targets, and the teacher's logits; kept features are augmented already."""
    if isinstance(batch, FeatureBatch):
        return batch, batch.targets, batch.teacher_logits
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "augment", state.epoch, state.step))
    for augment in settings.augment:
        batch = augment(batch, generator)
    teacher_logits = None if settings.teacher is None else settings.teacher(batch.images)
    return settings.transform(batch.images), batch.targets, teacher_logits


def _weighted_mean(losses: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
    """The mean loss of a batch, each image's multiplied by its class's weight, or by the mean of its classes'."""
    if class_weights is None:
        return losses.mean()
    weights = targets @ class_weights if targets.is_floating_point() else class_weights[targets]
    return (weights * losses).mean()


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
    return torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
