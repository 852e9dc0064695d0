"""A backbone with exits: its blocks in segments, each ending at an exit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from greenedge.config import ExitConfig, ModelConfig, instantiate
from greenedge.config.convert import did_you_mean
from greenedge.errors import ConfigError
from greenedge.models.backbones import build_backbone, find_family
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.models.family import Blocks, Family
from greenedge.models.former_logits import FormerLogits
from greenedge.models.gradients import HeadGradient, scale_gradient
from greenedge.models.segments import Segment, Shape, exits_needed, measure_shapes


class MultiExitNetwork(nn.Module):
    """A torchvision or timm network with early exits.

    Exit `e` of E comes after segment `e`; exit E-1 is the backbone's own classifier. The network knows nothing of
    thresholds: it gives the logits of all exits (`forward`), and whoever decides runs `segments` one at a time, and
    stops.

    Args:
        backbone: a torchvision or timm network.
        blocks: its named blocks, in order.
        shapes: (C, H, W) of what each block reads and, last, of what the last block gives.
        heads: (position of the block, classifier) of each early exit, by rising position.
        classifier: the backbone's own, from the last block's output to logits (N, C).

    Attributes:
        backbone: as given; its state-dict names are kept below `backbone.`.
        heads: the early exits' classifiers, in order.
        formers: what some heads make of the logits of the exit before, by the number of their exit.
        segments: E of them, from one exit to the next.
    """

    def __init__(
        self,
        backbone: nn.Module,
        blocks: Blocks,
        shapes: Sequence[Shape],
        heads: Sequence[tuple[int, nn.Module]],
        classifier: nn.Module,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(head for _, head in heads)
        self.formers = nn.ModuleDict()

        # A plain list: the segments consist of the backbone's modules, which must not be registered twice.
        self.segments: list[Segment] = []
        start = 0
        for position, head in [*heads, (len(blocks) - 1, classifier)]:
            end = position + 1
            exit_index, first = len(self.segments), start == 0
            segment = Segment(blocks[start:end], shapes[start : end + 1], exit_index, head, reads_images=first)
            self.segments.append(segment)
            start = end

    def show_former_logits(self, exits: Collection[int], num_classes: int) -> None:
        """Lets the heads of some early exits see the logits of the exit before them, too.

        Args:
            exits: from 1 to E-2.
            num_classes: logits of every exit.
        """
        for exit_index in exits:
            self.formers[str(exit_index)] = self.segments[exit_index].former = FormerLogits(num_classes)

    @property
    def num_exits(self) -> int:
        """E: early exits and the final one."""
        return len(self.segments)

    @property
    def image_size(self) -> int:
        """Pixels per side of the images that the network was made for."""
        return self.segments[0].input_shape[1]

    @property
    def blocks(self) -> Blocks:
        """(name, module) of every block, in order."""
        return [each for segment in self.segments for each in zip(segment.names, segment.blocks, strict=True)]

    @property
    def output_shapes(self) -> list[Shape]:
        """(C, H, W) of what every block gives, in order."""
        return [shape for segment in self.segments for shape in segment.shapes[1:]]

    @property
    def exit_positions(self) -> list[int]:
        """Where the blocks before each early exit stand among `blocks`."""
        ends = accumulate(len(segment.names) for segment in self.segments[:-1])
        return [end - 1 for end in ends]

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters of all blocks: neither the heads' nor the classifier's."""
        return [parameter for _, block in self.blocks for parameter in block.parameters()]

    def logit_layers(self) -> list[nn.Linear]:
        """The linear layers that give logits: the last of each exit's classifier that has one, and of former logits."""
        classifiers = [cast(nn.Module, segment.classifier) for segment in self.segments]
        classifiers += [segment.former for segment in self.segments if segment.former is not None]
        linears = [[module for module in each.modules() if isinstance(module, nn.Linear)] for each in classifiers]
        return [found[-1] for found in linears if found]

    def freeze(self, count: int) -> None:
        """Keeps the first `count` blocks as they are in training too, their batch norms included; frees the others."""
        for position, (_, block) in enumerate(self.blocks):
            block.requires_grad_(position >= count)
            if position < count:
                block.eval()

    def forward(
        self, images: Tensor, exits: Collection[int] | None = None, head_gradient: HeadGradient = "full"
    ) -> list[Tensor]:
        """Logits (N, C) of the exits, first to last, for images (N, 3, H, W).

        Args:
            images: normalised.
            exits: those wanted; None for all. Other heads are not run, but where one wanted sees their logits, nor are
                blocks that none of them needs, so that not even the statistics of their batch norms move.
            head_gradient: what of the early exits' gradient enters the backbone: all; none (`detached`); or, where an
                exit's gradient meets that of the m exits behind it, 1 / (m + 1) of the former and m / (m + 1) of the
                latter (`equilibrium`, IMTA, Li et al. 2019, section 3.3), so that a block sees the mean over the exits
                that it serves, however many they are.
        """
        wanted = range(self.num_exits) if exits is None else exits
        needed = exits_needed(self.segments, wanted)
        found = []
        features, logits = images, None
        for exit_index, segment in enumerate(self.segments[: max(wanted) + 1]):
            if exit_index not in needed:
                features = segment.blocks(features)
                continue
            behind = sum(other > exit_index for other in wanted)
            # A head that runs for another's sake alone sends no gradient, so that there is none to scale.
            if exit_index not in wanted or behind == 0 or head_gradient == "full":
                features, logits = segment(features, logits)
            else:
                features = segment.blocks(features)
                share = 1 / (behind + 1) if head_gradient == "equilibrium" else 0.0
                logits = segment.classify(scale_gradient(features, share), logits)
                features = scale_gradient(features, 1 - share)
            if exit_index in wanted:
                found.append(cast(Tensor, logits))
        return found

    def block_features(
        self, images: Tensor, positions: Collection[int], keep: Callable[[Tensor], Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Runs the backbone without any head.

        Args:
            images: (N, 3, H, W), normalised.
            positions: of the blocks whose features are wanted, among `blocks`.
            keep: from a block's features (N, C, H, W) to what is wanted of them: a copy, as blocks may work in place.

        Returns:
            what is wanted of each block, in order, and the final exit's logits (N, classes).
        """
        found = []
        features = images
        for position, (_, block) in enumerate(self.blocks):
            features = block(features)
            if position in positions:
                found.append(keep(features))
        return found, self.segments[-1].classify(features)


def build_network(config: ModelConfig, num_classes: int, image_size: int) -> MultiExitNetwork:
    """Builds the network of a config with random weights.

    The backbone is made first, so that with the same seed its weights are those torchvision would have made.

    Args:
        config: backbone and exits; `weights` are not loaded here.
        num_classes: outputs of every exit.
        image_size: pixels per side of the images, which decide the shapes of the heads.

    Raises:
        ConfigError: an unknown backbone, block, head or option, a repeated exit, former logits where there are none, or
            images too small for it.
    """
    family = find_family(config.backbone)
    backbone = build_backbone(config.backbone, num_classes, config.stem, image_size, config.stochastic_depth)
    blocks = family.blocks(backbone)
    positions = _exit_positions(config.exits, [name for name, _ in blocks])
    shapes = _measured_shapes(config.backbone, blocks, image_size)
    heads = [
        (position, _build_head(exit, family, backbone, shapes[position + 1], num_classes))
        for position, exit in zip(positions, config.exits, strict=True)
    ]
    network = MultiExitNetwork(backbone, blocks, shapes, heads, family.classifier(backbone))
    # After all heads, which so begin with the weights that they would have without.
    network.show_former_logits([index for index, exit in enumerate(config.exits) if exit.former_logits], num_classes)
    return network


def _build_head(exit: ExitConfig, family: Family, backbone: nn.Module, shape: Shape, num_classes: int) -> nn.Module:
    """A head for what a block gives, (C, H, W), or for the map that its family makes of that."""
    if family.head_input is None:
        return instantiate(exit.head, EXIT_HEADS, shape, num_classes)
    entry = family.head_input(backbone)
    with torch.no_grad():
        map_shape = tuple(entry(torch.zeros(1, *shape)).shape[1:])
    return nn.Sequential(entry, instantiate(exit.head, EXIT_HEADS, map_shape, num_classes))


def _exit_positions(exits: Sequence[ExitConfig], names: Sequence[str]) -> list[int]:
    positions: list[int] = []
    if exits and exits[0].former_logits:
        raise ConfigError("is true, and no exit comes before the first one; leave it out", key="exits.0.former_logits")
    for index, exit in enumerate(exits):
        key = f"exits.{index}.after"
        position = block_position(exit.after, names, key)
        if position in positions:
            raise ConfigError(f"there is already an exit after {names[position]!r}; name each block once", key=key)
        if position < max(positions, default=-1):
            raise ConfigError(f"{exit.after!r} comes before the exit above it; list exits first to last", key=key)
        if position == len(names) - 1:
            raise ConfigError(
                f"{exit.after!r} is the last block, where the final classifier already is; choose an earlier one",
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


def _measured_shapes(backbone: str, blocks: Blocks, image_size: int) -> list[Shape]:
    try:
        return measure_shapes(blocks, image_size)
    except RuntimeError as error:
        raise ConfigError(
            f"images of {image_size} px are too small for {backbone} ({error}); raise data.image_size"
        ) from None
