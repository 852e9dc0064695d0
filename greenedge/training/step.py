"""One step of a training: what the parts of a batch give, summed over them and over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from greenedge.augment.pairing import PairedBatch
from greenedge.data.loader import Batch
from greenedge.device.processes import Processes
from greenedge.training.average import ExponentialAverage
from greenedge.training.kept_features import FeatureBatch
from greenedge.training.objectives import StepOutputs
from greenedge.training.optimizers import set_lr
from greenedge.training.seeds import derive_seed
from greenedge.training.settings import TrainSettings
from greenedge.training.state import TrainingState


def make_step(
    state: TrainingState,
    network: Callable[..., list[Tensor]],
    batch: Batch | FeatureBatch,
    settings: TrainSettings,
    rate: float,
) -> bool:
    """Makes one step of the optimizer and tells whether the labels were mixed.

    The images are augmented together, whoever computes them, so that the same ones are seen with any number of
    processes. They are computed in `settings.parts` parts, each with its own random numbers and its own statistics of
    the batch norms; the gradients and the moved statistics are the means over the parts.

    Args:
        state: trained in place.
        network: what gives the logits: the state's network, compiled, or its heads on kept features.
        batch: all images of the step.
        settings: of the training.
        rate: the learning rate.

    Raises:
        ProcessLostError: another process has ended.
    """
    set_lr(state.optimizer, rate)
    batch = _augmented(state, batch, settings)
    # Gradients become None, so that parameters without a loss are moved neither by decay nor by momentum.
    state.optimizer.zero_grad()
    statistics = _MeanStatistics(state.network) if settings.parts > 1 else None

    # The sums are kept on the device, so that nothing here waits for a GPU.
    sums = torch.zeros_like(state.running_sums)
    for part, rows in _own_parts(len(batch.targets), settings):
        sums += _compute_part(state, network, batch, rows, settings, part)
        if statistics is not None:
            statistics.take()

    if statistics is not None:
        gradients = [each.grad for each in state.trained_parameters() if each.grad is not None]
        _sum_in_one_exchange([*gradients, *statistics.sums, sums], settings.processes)
        statistics.settle(settings.parts)
    if state.scaler is not None:
        state.scaler.unscale_(state.optimizer)
    if settings.gradient_clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_clip_norm)
        if state.mixing is not None:  # by itself, so that neither takes from the other
            torch.nn.utils.clip_grad_norm_(state.mixing.block.parameters(), settings.gradient_clip_norm)
    if state.scaler is None:
        state.optimizer.step()
    else:  # leaves a step out whose gradients are too large for fp16, and scales less from then on
        state.scaler.step(state.optimizer)
        state.scaler.update()
    if isinstance(state.averaged, ExponentialAverage):
        state.averaged.update_parameters(state.network)
    if state.mixing is not None:
        state.mixing.average.update_parameters(state.network)
    state.running_sums += sums
    return batch.targets.is_floating_point()


def _augmented(state: TrainingState, batch: Batch | FeatureBatch, settings: TrainSettings) -> Batch | FeatureBatch:
    """The augmented images; kept features are augmented already."""
    if isinstance(batch, FeatureBatch):
        return batch
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "augment", state.epoch, state.step))
    for augment in settings.augment:
        batch = augment(batch, generator)
    return batch


def _own_parts(images: int, settings: TrainSettings) -> Iterator[tuple[int, slice]]:
    """Yields number and rows of the parts that this process computes; their sizes differ by one image at most."""
    first = settings.processes.rank * settings.accumulate
    for part in range(first, first + settings.accumulate):
        yield part, slice(images * part // settings.parts, images * (part + 1) // settings.parts)


def _compute_part(
    state: TrainingState,
    network: Callable[..., list[Tensor]],
    batch: Batch | FeatureBatch,
    rows: slice,
    settings: TrainSettings,
    part: int,
) -> Tensor:
    """Adds the gradients of a part, in proportion to its images, to those that are there.

    Returns:
        its contribution to `TrainingState.running_sums`.
    """
    # The global seed is for dropout and stochastic depth.
    places = (state.epoch, state.step) if settings.parts == 1 else (state.epoch, state.step, part)
    torch.manual_seed(derive_seed(settings.seed, "network", *places))
    own, beside = batch.select(rows), None
    if isinstance(own, PairedBatch):
        own, beside = _mixed(state, network, own, settings)
    loss, logits = _objective(state, network, own, settings)

    # One pass backwards: a gradient is added once to those of the parts before, so that the order of sums is the same.
    descended = loss if beside is None else loss + beside
    if len(own.targets) != len(batch.targets):
        descended = descended * (len(own.targets) / len(batch.targets))
    (descended if state.scaler is None else state.scaler.scale(descended)).backward()  # type: ignore[no-untyped-call]

    targets = own.targets
    labels = targets.argmax(1) if targets.is_floating_point() else targets
    sums = torch.zeros_like(state.running_sums)
    with torch.no_grad():
        sums[0] = loss.detach() * len(targets)
        sums[1] = len(targets)
        for exit_index, exit_logits in zip(settings.weights(state.epoch), logits, strict=True):
            sums[2 + exit_index] = (exit_logits.argmax(1) == labels).sum()
    return sums


def _mixed(
    state: TrainingState, network: Callable[..., list[Tensor]], pairs: PairedBatch, settings: TrainSettings
) -> tuple[Batch, Tensor]:
    """The images mixed by the Mix Block, and what is descended beside their loss: its own and the images alone's."""
    assert state.mixing is not None  # whoever builds a run with such an augmentation sees to it
    mixed: Batch
    with _autocast(pairs.targets, settings):
        remaining = 1 - state.epoch / settings.epochs
        mixed, beside = state.mixing(pairs, settings.transform, partial(_mean_loss, settings), remaining)
    if state.mixing.settings.clean_weight > 0:
        clean, _ = _objective(state, network, pairs.clean(), settings)
        beside = beside + state.mixing.settings.clean_weight * clean
    return mixed, beside


def _objective(
    state: TrainingState, network: Callable[..., list[Tensor]], batch: Batch | FeatureBatch, settings: TrainSettings
) -> tuple[Tensor, list[Tensor]]:
    """The number to descend, and the logits of the exits that count."""
    inputs, targets, teacher_logits = _inputs(batch, settings)
    weights = settings.weights(state.epoch)
    with _autocast(targets, settings):
        logits = network(inputs, tuple(weights), settings.objective.head_gradient)
        losses = [_mean_loss(settings, each, targets) for each in logits]
        return settings.objective(StepOutputs(logits, losses, tuple(weights.values()), teacher_logits)), logits


def _autocast(targets: Tensor, settings: TrainSettings) -> torch.autocast:
    return torch.autocast(targets.device.type, settings.autocast, enabled=settings.autocast is not None)


def _inputs(
    batch: Batch | FeatureBatch, settings: TrainSettings
) -> tuple[Tensor | FeatureBatch, Tensor, Tensor | None]:
    """What the network reads, the targets, and the teacher's logits."""
    if isinstance(batch, FeatureBatch):
        return batch, batch.targets, batch.teacher_logits
    teacher_logits = None if settings.teacher is None else settings.teacher(batch.images)
    return settings.transform(batch.images), batch.targets, teacher_logits


def _mean_loss(settings: TrainSettings, logits: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of a batch, each image's multiplied by its class's weight, or by the mean of its classes'."""
    losses, class_weights = settings.loss(logits, targets), settings.class_weights
    if class_weights is None:
        return losses.mean()
    weights = targets @ class_weights if targets.is_floating_point() else class_weights[targets]
    return (weights * losses).mean()


class _MeanStatistics:
    """Running statistics of the batch norms, which each part of a step would move, moved once: by the parts' mean.

    Statistics that no part moves stay as they are, to the last bit.

    Attributes:
        sums: by how much the parts taken so far would move each of them.
    """

    def __init__(self, network: nn.Module) -> None:
        norms = [each for each in network.modules() if isinstance(each, _BatchNorm)]
        buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self._running = [buffer for buffer in buffers if buffer.is_floating_point()]
        self._counts = [buffer for buffer in buffers if not buffer.is_floating_point()]
        self._before = [tensor.clone() for tensor in self._running]
        self._counts_before = [count.clone() for count in self._counts]
        self._counts_after = self._counts_before
        self.sums = [torch.zeros_like(tensor) for tensor in self._running]

    def take(self) -> None:
        """Adds what a part has made of the statistics, and puts them back."""
        self._counts_after = [count.clone() for count in self._counts]
        for moved, running, before in zip(self.sums, self._running, self._before, strict=True):
            moved += running - before
        self._restore()

    def settle(self, parts: int) -> None:
        """Moves the statistics by the sums over so many parts, and counts the batches of one part."""
        for running, moved in zip(self._running, self.sums, strict=True):
            running += moved / parts
        for count, after in zip(self._counts, self._counts_after, strict=True):
            count.copy_(after)

    def _restore(self) -> None:
        for tensor, before in zip([*self._running, *self._counts], [*self._before, *self._counts_before], strict=True):
            tensor.copy_(before)


def _sum_in_one_exchange(tensors: Sequence[Tensor], processes: Processes) -> None:
    """Adds tensors up over all processes; a fixed order in one flat vector gives the same bits every time."""
    if processes.count == 1:
        return
    flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    processes.sum_(flat)
    for tensor, total in zip(tensors, torch.split(flat, [each.numel() for each in tensors]), strict=True):
        tensor.copy_(total.view(tensor.shape))
