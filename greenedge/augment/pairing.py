"""Augmentations whose mixing is learned: here the pairs and their shares are drawn, training makes the masks.

A Mix Block (`greenedge.augment.mix_block`) decides for each pair of images where which one is seen. It looks at
features of the network that is trained and learns beside it, so that the images are mixed within the step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from greenedge.augment.mixing import mix_targets, own_weights
from greenedge.config.convert import FractionBelowOne, NonNegative, Positive, Probability
from greenedge.data.loader import Batch, to_device

MixKind = Literal["automix", "samix"]


@dataclass(frozen=True)
class MixSettings:
    """How a Mix Block is made and learns; the options of `automix` and `samix`.

    Attributes:
        kind: which of the two.
        after: the block of the network whose features it sees; None: the last one before the map is made smallest.
        momentum: of the averaged network that it sees the images through.
        block_lr: factor of its learning rate.
        mask_weight: of the loss that keeps a mask's mean at its share, in the first epoch; it falls to 0 at the end.
        mask_margin: by how much the mean may be off without loss.
        clean_weight: of the loss of the images before they are mixed.
    """

    kind: MixKind
    after: str | None
    momentum: float
    block_lr: float
    mask_weight: float
    mask_margin: float
    clean_weight: float


@dataclass(frozen=True)
class PairedBatch(Batch):
    """Images of a step that are still to be mixed.

    Attributes:
        images: (B, 3, H, W) of the whole step, uint8, or float in [0, 1].
        targets: float (n, C), as they will be once mixed.
        pairs: int64 (n, 2) on the CPU: which image is mixed with which.
        keep: float32 (n,), the share of the first of them (the papers' lambda).
        clean_targets: of the first of them alone, int64 (n,), or float (n, C).
        settings: of the Mix Block.
    """

    pairs: Tensor
    keep: Tensor
    clean_targets: Tensor
    settings: MixSettings

    def select(self, rows: slice) -> PairedBatch:
        """Some of its pairs; the images stay, since a partner may be any of them."""
        return replace(
            self,
            targets=self.targets[rows],
            pairs=self.pairs[rows],
            keep=self.keep[rows],
            clean_targets=self.clean_targets[rows],
        )

    def clean(self) -> Batch:
        """The first images of the pairs, not mixed."""
        return Batch(self.images[to_device(self.pairs[:, 0], self.images.device)], self.clean_targets, self.num_classes)


def automix(
    batch: Batch,
    generator: Generator,
    *,
    alpha: Positive = 2.0,
    after: str | None = None,
    momentum: FractionBelowOne = 0.999,
    block_lr: Positive = 1.0,
    mask_weight: NonNegative = 0.1,
    mask_margin: Probability = 0.1,
    clean_weight: NonNegative = 1.0,
) -> PairedBatch:
    """Mixes pairs of images by a mask that is learned with the network (Liu et al. 2022, AutoMix).

    A Mix Block compares the features of both images and gives a mask for the first. It learns through an average of the
    network, held constant, to make mixtures in which both labels are recognised; the network learns from the mixtures
    and, as in the paper's code, from the images alone. A step takes 2.7 times as long (1.7 without the images alone),
    and as much more memory. It must be the last of the augmentations.

    Args:
        batch: images (B, 3, H, W).
        generator: draws partners and shares.
        alpha: parameter of the Beta distribution of each pair's share.
        after: the block of the network whose features are compared; by default the last one whose map is larger than
            the final one (stage 3 of a ResNet, as in the paper).
        momentum: of the average, in [0, 1); lower in the first steps.
        block_lr: factor of the Mix Block's learning rate.
        mask_weight: of the loss that keeps a mask's mean at its share; it falls to 0 over the epochs.
        mask_margin: by how much the mean may be off without loss (the paper's epsilon).
        clean_weight: of the loss of the images before they are mixed; 0 makes a step cheaper.
    """
    settings = MixSettings("automix", after, momentum, block_lr, mask_weight, mask_margin, clean_weight)
    return _paired(batch, generator, alpha, settings)


def samix(
    batch: Batch,
    generator: Generator,
    *,
    alpha: Positive = 2.0,
    after: str | None = None,
    momentum: FractionBelowOne = 0.999,
    block_lr: Positive = 1.0,
    mask_weight: NonNegative = 0.1,
    mask_margin: Probability = 0.1,
    clean_weight: NonNegative = 1.0,
) -> PairedBatch:
    """Mixes pairs of images by a mask that is learned with the network (Li et al. 2021, SAMix).

    As `automix`, with another Mix Block: the share scales the features, both images enter each side of the comparison,
    what is weighed is not linear in the features, and masks that are the same everywhere cost something.

    Args:
        batch: images (B, 3, H, W).
        generator: draws partners and shares.
        alpha: parameter of the Beta distribution of each pair's share.
        after: the block of the network whose features are compared; by default as for `automix`.
        momentum: of the average of the network, in [0, 1).
        block_lr: factor of the Mix Block's learning rate.
        mask_weight: of the loss that keeps a mask's mean at its share and its values apart; it falls to 0.
        mask_margin: by how much the mean may be off without loss.
        clean_weight: of the loss of the images before they are mixed; 0 makes a step cheaper.
    """
    settings = MixSettings("samix", after, momentum, block_lr, mask_weight, mask_margin, clean_weight)
    return _paired(batch, generator, alpha, settings)


def _paired(batch: Batch, generator: Generator, alpha: float, settings: MixSettings) -> PairedBatch:
    count, device = len(batch.images), batch.images.device
    keep = to_device(own_weights(count, alpha, 1.0, generator), device)
    partner = torch.randperm(count, generator=generator)
    targets = mix_targets(batch, to_device(partner, device), keep)
    pairs = torch.stack([torch.arange(count), partner], dim=1)
    return PairedBatch(batch.images, targets, batch.num_classes, pairs, keep, batch.targets, settings)
