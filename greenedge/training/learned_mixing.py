"""Mixing that learns beside the network: AutoMix and SAMix within a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, cast

import torch
from torch import Tensor, nn, optim

from greenedge.augment.mix_block import MixBlock, mask_loss
from greenedge.augment.pairing import MixSettings, PairedBatch
from greenedge.augment.selection import unit_range
from greenedge.data.loader import Batch, InputTransform, to_device
from greenedge.errors import ConfigError
from greenedge.models.multi_exit import MultiExitNetwork, block_position
from greenedge.training.average import ExponentialAverage


class LearnedMixing(nn.Module):
    """A Mix Block, and the average of the network that it looks through and learns by (AutoMix, section 3.3).

    The average is in evaluation mode, so that a mask depends on its two images alone, however a step is divided.

    Args:
        network: that is trained, on its device.
        settings: of the Mix Block.

    Attributes:
        settings: as given.
        block: what learns.
        average: of the network, constant within a step.

    Raises:
        ConfigError: the network has no such block, or its features are not a map; the key is the augmentation's.
    """

    def __init__(self, network: MultiExitNetwork, settings: MixSettings) -> None:
        super().__init__()
        self.settings = settings
        self._position = _chosen_block(network, settings)
        self.block = MixBlock(network.output_shapes[self._position][0], settings.kind)
        self.block.to(next(network.parameters()).device)
        self.average = ExponentialAverage(network, settings.momentum)
        self.average.requires_grad_(requires_grad=False).eval()

    def train(self, mode: bool = True) -> Self:  # the signature of torch
        """Sets the mode of the block; the average stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    def add_to(self, optimizer: optim.Optimizer) -> None:
        """Lets the optimizer of the network train the block too."""
        parameters = list(self.block.parameters())
        optimizer.add_param_group({"params": parameters, "weight_decay": 0.0, "lr_factor": self.settings.block_lr})

    def mix(self, batch: PairedBatch, transform: InputTransform) -> tuple[Tensor, Tensor]:
        """Mixes the pairs of a batch.

        Args:
            batch: n pairs.
            transform: from stored images to the network's input.

        Returns:
            the mixed images, float (n, 3, H, W) in [0, 1], and the masks of the first image of each, (n, 1, h, w); both
            lead gradients to the block.
        """
        device = batch.images.device
        # Each image is looked at once, in however many pairs it is; sorted on the CPU, so that nothing waits for a GPU.
        chosen, places = torch.unique(batch.pairs, return_inverse=True)
        images = unit_range(batch.images[to_device(chosen, device)])
        with torch.no_grad():
            features = transform(images)
            for _, block in self._network.blocks[: self._position + 1]:
                features = block(features)

        first, second = to_device(places, device).unbind(1)
        mask = self.block(features[first], features[second], batch.keep)
        visible = self.block.enlarged(mask, (images.shape[-2], images.shape[-1]))
        return torch.lerp(images[second], images[first], visible), mask

    def forward(
        self, batch: PairedBatch, transform: InputTransform, loss: Callable[[Tensor, Tensor], Tensor], remaining: float
    ) -> tuple[Batch, Tensor]:
        """The mixed images for the network to learn from, and what the block descends.

        Args:
            batch: n pairs.
            transform: from stored images to the network's input.
            loss: (logits, targets) -> the mean loss.
            remaining: the part of the training that is still to come, in (0, 1].

        Returns:
            the batch, which leads no gradient to the block; and a scalar: how badly the average's final exit sees both
            labels, and how far the masks are from their shares.
        """
        mixed, mask = self.mix(batch, transform)
        (logits,) = self._network(transform(mixed), (self._network.num_exits - 1,))
        generation = loss(logits, batch.targets)
        settings = self.settings
        held = mask_loss(mask, batch.keep, settings.mask_margin, settings.kind)
        total = generation + settings.mask_weight * remaining * held
        return Batch(mixed.detach(), batch.targets, batch.num_classes), total

    @property
    def _network(self) -> MultiExitNetwork:
        return cast(MultiExitNetwork, self.average.module)


def _chosen_block(network: MultiExitNetwork, settings: MixSettings) -> int:
    """Where the block stands whose features are compared."""
    shapes = network.output_shapes
    maps = [place for place, shape in enumerate(shapes) if min(shape[1:]) > 1]
    if not maps:
        message = f"no block of this network gives a map of features to make a mask of; leave {settings.kind} out"
        raise ConfigError(message, key="after")
    if settings.after is None:
        return max([place for place in maps if shapes[place][-1] > shapes[-1][-1]], default=maps[-1])
    position = block_position(settings.after, [name for name, _ in network.blocks], "after")
    if position not in maps:
        raise ConfigError(
            f"the features after {settings.after!r} are {' x '.join(map(str, shapes[position]))}, and a mask needs a "
            "map of at least 2 x 2; name another block",
            key="after",
        )
    return position
