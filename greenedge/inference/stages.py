"""A network as a chain of stages: runs of blocks at one resolution, some with an exit after them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork


class StageModule(nn.Module):
    """Blocks that give features of one size, and the classifier after the last of them, where there is one.

    Args:
        blocks: run in order.
        classifier: from the features to logits (N, C), or None.
        last: nothing comes after it, so that no features need be handed on.
    """

    def __init__(self, blocks: list[nn.Module], classifier: nn.Module | None, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.classifier = classifier
        self.last = last

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features to hand on (N, C, H, W), and float32 logits (N, classes), or None, of the exit here."""
        features = self.blocks(features)
        logits = None if self.classifier is None else self.classifier(features).float()
        return (features.new_empty(0) if self.last else features), logits


class FinalClassifier(nn.Module):
    """The backbone's own classifier as a module of its own."""

    def __init__(self, network: MultiExitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        """From the last block's output to logits (N, C)."""
        return self.network.classify(self.network.num_exits - 1, features)


@dataclass(frozen=True)
class StageSpec:
    """A stage and where it stands.

    Attributes:
        name: of its first and last block.
        module: what it runs.
        exit_index: of the exit after it, or None.
        input_shape: (C, H, W) of what it reads.
    """

    name: str
    module: StageModule
    exit_index: int | None
    input_shape: tuple[int, int, int]


def cut_stages(network: MultiExitNetwork) -> list[StageSpec]:
    """Cuts each segment where the resolution changes.

    The best number of images at a time depends on the size of the features: wide ones should stay in the cache, small
    ones come by the dozen, so that weights are read once for many.

    Args:
        network: left in the mode it is in; its modules are used as they are, not copied.
    """
    names = iter([name for name, _ in network.blocks])
    parameter = next(network.parameters())
    side = network.image_size
    features = torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device)
    stages = []
    size = features.shape[-2:]
    with evaluation_mode(network, *(block for _, block in network.blocks)), torch.no_grad():
        for exit_index, segment in enumerate(network.segments):
            runs: list[tuple[list[str], list[nn.Module], Tensor]] = []  # names, blocks, what the first one reads
            for block in segment.blocks:
                given, features = features, block(features)
                if not runs or features.shape[-2:] != size:
                    runs.append(([], [], given))
                size = features.shape[-2:]
                runs[-1][0].append(next(names))
                runs[-1][1].append(block)
            final = exit_index == network.num_exits - 1
            classifier = FinalClassifier(network) if final else network.heads[exit_index]
            for position, (block_names, blocks, given) in enumerate(runs):
                ends = position == len(runs) - 1
                stages.append(
                    StageSpec(
                        name=block_names[0] if len(blocks) == 1 else f"{block_names[0]} to {block_names[-1]}",
                        module=StageModule(blocks, classifier if ends else None, last=ends and final),
                        exit_index=exit_index if ends else None,
                        input_shape=(given.shape[1], given.shape[2], given.shape[3]),
                    )
                )
    return stages
