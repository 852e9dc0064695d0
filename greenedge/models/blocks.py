"""The blocks of a backbone, after which exits may come."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from greenedge.errors import UsageError
from greenedge.models.backbones import build_backbone, find_family


@dataclass(frozen=True)
class BlockInfo:
    """A block and its output for one image.

    Attributes:
        name: as `model.exits` of a config names it.
        channels: of the output.
        height: of the output, pixels.
        width: likewise.
        parameters: of the block alone.
    """

    name: str
    channels: int
    height: int
    width: int
    parameters: int


def describe_blocks(backbone: str, image_size: int, stem: str = "imagenet") -> tuple[BlockInfo, ...]:
    """Lists the blocks of a backbone in order; an exit comes after any but the last.

    Args:
        backbone: a name in `BACKBONES`, or `timm/NAME`.
        image_size: pixels per side.
        stem: `imagenet` or `small`.

    Raises:
        ConfigError: there is no such backbone, or it has no small stem.
        UsageError: the images are too small for it.
    """
    family = find_family(backbone)
    found = []
    with torch.device("meta"), torch.no_grad():  # shapes alone: no weights and no arithmetic
        network = build_backbone(backbone, 1000, stem, image_size).eval()
        features = torch.zeros(1, 3, image_size, image_size)
        for name, block in family.blocks(network):
            try:
                features = block(features)
            except RuntimeError:
                message = f"images of {image_size} px are too small for {backbone}, at block {name}; give a larger size"
                raise UsageError(message) from None
            parameters = sum(each.numel() for each in block.parameters())
            channels, height, width = features.shape[1:]
            found.append(BlockInfo(name, channels, height, width, parameters))
    return tuple(found)
