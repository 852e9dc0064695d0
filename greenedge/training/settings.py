"""The settings of a training, built from its config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from greenedge.config.schema import EarlyStoppingConfig
from greenedge.data.crops import RandomCrops
from greenedge.data.loader import Batch, InputTransform
from greenedge.device.processes import ALONE, Processes
from greenedge.training.kept_features import KeptFeatures
from greenedge.training.objectives import Objective, WeightedSum
from greenedge.training.seeds import derive_seed


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a training.

    Attributes:
        epochs: number of epochs in all.
        batch_size: images per step, over all processes.
        seed: of the order of the images, the augmentations and the network's dropout.
        augment: functions (batch, generator) -> batch, applied in order.
        transform: from stored images to the network's input.
        loss: (logits, targets) -> the loss of each image at one exit, (B,).
        exit_weights: factor of each exit's loss.
        learning_rate: (progress in [0, 1), calibration accuracies of the epochs done) -> learning rate.
        gradient_clip_norm: largest norm of the whole gradient, or None.
        autocast: the type of autocast operations, or None for float32.
        compile: run the network through `torch.compile`.
        trunk_only_epochs: number of first epochs in which only the final exit's loss counts.
        frozen: pairs (blocks, epochs): so many first blocks are not trained in so many first epochs.
        objective: from what all exits gave to the number that a step descends.
        teacher: images of a batch, as they are stored -> logits (B, C) that the objective may use, or None.
        class_weights: float32 (C,), a factor of the loss of each class's images, or None.
        kept: features of the frozen backbone, on which the heads are trained in place of the images, or None.
        accumulate: how many parts of a step's images each process computes, one after another.
        average_last: at the end of so many last epochs the weights are averaged; 0: never.
        early_stopping: after which epoch the training ends early, if at all.
        processes: those that train together.
        crops: of originals, drawn anew each epoch; None: the largest square at the centre.
    """

    epochs: int
    batch_size: int
    seed: int
    augment: tuple[Callable[[Batch, Generator], Batch], ...]
    transform: InputTransform
    loss: Callable[[Tensor, Tensor], Tensor]
    exit_weights: tuple[float, ...]
    learning_rate: Callable[[float, Sequence[float]], float]
    gradient_clip_norm: float | None = None
    autocast: torch.dtype | None = None
    compile: bool = False
    trunk_only_epochs: int = 0
    frozen: tuple[tuple[int, int], ...] = ()
    objective: Objective = WeightedSum()
    teacher: Callable[[Tensor], Tensor] | None = None
    class_weights: Tensor | None = None
    kept: KeptFeatures | None = None
    accumulate: int = 1
    average_last: int = 0
    early_stopping: EarlyStoppingConfig | None = None
    processes: Processes = ALONE
    crops: RandomCrops | None = None

    @property
    def parts(self) -> int:
        """Number of parts that a step's images are computed in; the result depends on it, not on who computes them."""
        return self.accumulate * self.processes.count

    def crops_of(self, epoch: int) -> RandomCrops | None:
        """Returns the crops of an epoch, counted from 0: an image's depends on seed, epoch and image alone."""
        return None if self.crops is None else replace(self.crops, seed=derive_seed(self.seed, "crop", epoch))

    def frozen_blocks(self, epoch: int) -> int:
        """Returns how many first blocks are not trained in an epoch, counted from 0."""
        return max((blocks for blocks, epochs in self.frozen if epoch < epochs), default=0)

    def averages(self, epoch: int) -> bool:
        """Tells whether the weights at the end of an epoch, counted from 0, belong to the average of the last ones."""
        return epoch >= self.epochs - self.average_last

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
