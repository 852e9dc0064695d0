"""A backbone with exits: its blocks in segments, each ending at an exit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from greenedge.config import ExitConfig, ModelConfig, instantiate
from greenedge.config.convert import did_you_mean
from greenedge.errors import ConfigError
from greenedge.models.backbones import build_backbone, find_family
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.models.family import Blocks, Family
from greenedge.models.modes import evaluation_mode


@dataclass(frozen=True)
class Segment:
    """Blocks between two exits.

    Attributes:
        after: name of its last block.
        blocks: to be run in order.
    """

    after: str
    blocks: tuple[nn.Module, ...]


class MultiExitNetwork(nn.Module):
    """A torchvision or timm network that also answers early.

    Exit `e` of E answers after segment `e`; exit E-1 is the backbone's own classifier. The network knows nothing of
    thresholds: it gives the logits of all exits (`forward`), or one segment and one exit at a time (`advance` and
    `classify`), so that whoever decides can stop asking.

    Args:
        backbone: a torchvision or timm network.
        family: how it is cut.
        blocks: its named blocks, in order.
        exits: (position of the block, head), by rising position.
        image_size: pixels a side of the images that the heads were made for.

    Attributes:
        image_size: likewise.
        backbone: the torchvision network; its state-dict names are kept below `backbone.`.
        heads: the early exits' heads, in order.
        blocks: (name, module) of every block, in order.
        segments: E of them.
    """

    def __init__(
        self,
        backbone: nn.Module,
        family: Family,
        blocks: Blocks,
        exits: Sequence[tuple[int, nn.Module]],
        image_size: int,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.backbone = backbone
        self.heads = nn.ModuleList(head for _, head in exits)
        self._family = family
        # Plain lists: the blocks are the backbone's own modules and must not be registered twice.
        self.blocks = list(blocks)
        self.segments: list[Segment] = []
        start = 0
        for position in [*(position for position, _ in exits), len(blocks) - 1]:
            modules = tuple(module for _, module in blocks[start : position + 1])
            self.segments.append(Segment(blocks[position][0], modules))
            start = position + 1

    @property
    def num_exits(self) -> int:
        """E: early exits and the final one."""
        return len(self.segments)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters of all blocks: neither the heads' nor the classifier's."""
        return [parameter for _, block in self.blocks for parameter in block.parameters()]

    def logit_layers(self) -> list[nn.Linear]:
        """The linear layers that give logits: the last of each early head that has one, and the backbone's own."""
        linears = [[module for module in head.modules() if isinstance(module, nn.Linear)] for head in self.heads]
        classifier = self.backbone.get_submodule(self._family.classifier_name)
        return [*(found[-1] for found in linears if found), cast(nn.Linear, classifier)]

    def freeze(self, count: int) -> None:
        """Keeps the first `count` blocks as they are in training too, their batch norms included; frees the others."""
        for position, (_, block) in enumerate(self.blocks):
            block.requires_grad_(position >= count)
            if position < count:
                block.eval()

    def advance(self, exit_index: int, features: Tensor) -> Tensor:
        """Runs one segment: from the features of the exit before (or images, for the first) to this exit's."""
        for block in self.segments[exit_index].blocks:
            features = block(features)
        return features

    def classify(self, exit_index: int, features: Tensor) -> Tensor:
        """Logits (N, C) of one exit from its segment's features."""
        if exit_index < len(self.heads):
            return cast(Tensor, self.heads[exit_index](features))
        return self._family.classifier(self.backbone, features)

    def forward(self, images: Tensor, exits: Collection[int] | None = None) -> list[Tensor]:
        """Logits (N, C) of the exits, first to last, for images (N, 3, H, W).

        Args:
            images: normalised.
            exits: those wanted; None for all. Other heads, and blocks that none of them needs, are not run at all, so
                that not even the statistics of their batch norms move.
        """
        wanted = range(self.num_exits) if exits is None else exits
        logits = []
        features = images
        for exit_index in range(max(wanted) + 1):
            features = self.advance(exit_index, features)
            if exit_index in wanted:
                logits.append(self.classify(exit_index, features))
        return logits


def build_network(config: ModelConfig, num_classes: int, image_size: int) -> MultiExitNetwork:
    """Builds the network of a config with random weights.

    The backbone is made first, so that with the same seed its weights are those torchvision would have made.

    Args:
        config: backbone and exits; `weights` are not loaded here.
        num_classes: outputs of every exit.
        image_size: pixels a side of the images, which decide the shapes of the heads.

    Raises:
        ConfigError: an unknown backbone, block, head or option, a repeated exit, or images too small for it.
    """
    family = find_family(config.backbone)
    backbone = build_backbone(config.backbone, num_classes, config.stem)
    blocks = family.blocks(backbone)
    positions = _exit_positions(config.exits, [name for name, _ in blocks])
    shapes = _output_shapes(config.backbone, blocks, image_size)
    heads = [
        instantiate(exit.head, EXIT_HEADS, shapes[p], num_classes)
        for p, exit in zip(positions, config.exits, strict=True)
    ]
    return MultiExitNetwork(backbone, family, blocks, list(zip(positions, heads, strict=True)), image_size)


def _exit_positions(exits: Sequence[ExitConfig], names: Sequence[str]) -> list[int]:
    positions: list[int] = []
    for index, exit in enumerate(exits):
        key = f"exits.{index}.after"
        position = block_position(exit.after, names, key)
        if position in positions:
            raise ConfigError(f"there is already an exit after {names[position]!r}; name each block once", key=key)
        if position < max(positions, default=-1):
            raise ConfigError(f"{exit.after!r} comes before the exit above it; list exits first to last", key=key)
        if position == len(names) - 1:
            raise ConfigError(
                f"{exit.after!r} is the last block, where the final classifier already answers; choose an earlier one",
                key=key,
            )
        positions.append(position)
    return positions


def block_position(after: str, names: Sequence[str], key: str) -> int:
    """Where a block, or the last block of a stage, stands among `names`.

    Raises:
        ConfigError: there is none; `key` says which of the config's keys named it.
    """
    inside = [p for p, name in enumerate(names) if name == after or name.startswith(f"{after}.")]
    if not inside:
        hint = did_you_mean(after, [*names, *_stages(names)]) or f"the blocks are {', '.join(names)}"
        raise ConfigError(f"there is no block {after!r}; {hint}", key=key)
    return inside[-1]


def _stages(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names if "." in name))


def _output_shapes(backbone: str, blocks: Blocks, image_size: int) -> list[tuple[int, int, int]]:
    """(C, H, W) after each block, found by running one blank image through, with nothing changed."""
    modules = [module for _, module in blocks]
    shapes = []
    try:
        with evaluation_mode(*modules), torch.no_grad():
            features = torch.zeros(1, 3, image_size, image_size)
            for module in modules:
                features = module(features)
                shapes.append((features.shape[1], features.shape[2], features.shape[3]))
    except RuntimeError as error:
        raise ConfigError(
            f"images of {image_size} px are too small for {backbone} ({error}); raise data.image_size"
        ) from None
    return shapes
