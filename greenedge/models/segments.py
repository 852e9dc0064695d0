"""A part of a network that is run at one go: blocks in a row and, where they end at an exit, the classifier there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from greenedge.models.family import Blocks
from greenedge.models.former_logits import FormerLogits
from greenedge.models.modes import evaluation_mode

Shape = tuple[int, int, int]


class Segment(nn.Module):
    """Named blocks in a row and, where they end at an exit, the classifier there.

    A segment refers to the modules of its network and holds no weights of its own; the training mode and the device
    are set through the network.

    Args:
        blocks: (name, module) of each, run in order.
        shapes: (C, H, W) of what each block reads and, last, of what the last block gives.
        exit_index: the exit that the segment ends at, or None.
        classifier: from the last block's features to that exit's logits (N, classes), or None.
        reads_images: the first block reads the network's images, in place of the features of the segment before.

    Attributes:
        names: of the blocks.
        blocks: the blocks as one module.
        shapes, exit_index, classifier, reads_images: as given.
        former: what is added to the classifier's logits, from those of the exit before (`FormerLogits`), or None.
    """

    def __init__(
        self,
        blocks: Blocks,
        shapes: Sequence[Shape],
        exit_index: int | None = None,
        classifier: nn.Module | None = None,
        *,
        reads_images: bool = False,
    ) -> None:
        super().__init__()
        self.names = tuple(name for name, _ in blocks)
        self.shapes = tuple(shapes)
        self.exit_index = exit_index
        self.blocks = nn.Sequential(*(block for _, block in blocks))
        self.classifier = classifier
        self.former: FormerLogits | None = None
        self.reads_images = reads_images

    @property
    def after(self) -> str:
        """The name of the last block."""
        return self.names[-1]

    @property
    def span(self) -> str:
        """The names of the first and the last block, such as `layer1.0 to layer2.1`."""
        return self.after if len(self.names) == 1 else f"{self.names[0]} to {self.after}"

    @property
    def input_shape(self) -> Shape:
        """(C, H, W) of what the first block reads."""
        return self.shapes[0]

    @property
    def reads_logits(self) -> bool:
        """Whether the exit here sees the logits of the exit before."""
        return self.former is not None

    def forward(self, features: Tensor, former_logits: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Runs the blocks and the classifier.

        Args:
            features: (N, C, H, W) of the segment before; normalised images for the first one.
            former_logits: (N, classes) of the exit before, where the exit here sees them.

        Returns:
            the last block's features, and the logits (N, classes) of the exit here, or None.
        """
        features = self.blocks(features)
        return features, None if self.classifier is None else self.classify(features, former_logits)

    def classify(self, features: Tensor, former_logits: Tensor | None = None) -> Tensor:
        """Logits (N, classes) of the exit here, from the last block's features; `former_logits` as in `forward`."""
        assert self.classifier is not None
        logits: Tensor = self.classifier(features)
        if self.former is not None:
            assert former_logits is not None
            logits = logits + self.former(former_logits)
        return logits

    def blank_logits(self, count: int, device: torch.device | None = None) -> tuple[Tensor, ...]:
        """Former logits (count, classes), all 0, for whoever tries the segment out; none where it sees none."""
        if self.former is None:
            return ()
        return (torch.zeros(count, self.former.num_classes, device=device),)

    def split(self) -> list[Segment]:
        """Shorter segments of the same modules, cut where the resolution changes; the last one ends at the exit.

        The best number of images at a time depends on the size of the features: large ones should stay in the cache,
        small ones are better run many at a time, so that weights are read once for all of them.
        """
        sides = [shape[1:] for shape in self.shapes]
        starts = [0, *(index for index in range(1, len(self.names)) if sides[index + 1] != sides[index])]
        ends = [*starts[1:], len(self.names)]
        blocks = list(zip(self.names, self.blocks, strict=True))
        segments = [
            Segment(blocks[start:end], self.shapes[start : end + 1]) for start, end in zip(starts, ends, strict=True)
        ]
        segments[0].reads_images = self.reads_images
        segments[-1].exit_index, segments[-1].classifier = self.exit_index, self.classifier
        segments[-1].former = self.former
        return segments


def exits_needed(segments: Sequence[Segment], wanted: Collection[int]) -> set[int]:
    """The exits whose heads have to run: those wanted, and those before them whose logits they see.

    Args:
        segments: of a network, one for each exit.
        wanted: exits, counted from 0.
    """
    needed = set(wanted)
    for exit_index in range(len(segments) - 1, 0, -1):
        if exit_index in needed and segments[exit_index].reads_logits:
            needed.add(exit_index - 1)
    return needed


def measure_shapes(blocks: Blocks, image_size: int) -> list[Shape]:
    """The shape (C, H, W) of what each block reads and, last, of what the last block gives.

    One blank image is run through; the blocks are not changed.

    Args:
        blocks: (name, module) of each, run in order.
        image_size: pixels per side of the images.

    Raises:
        RuntimeError: the images are too small.
    """
    modules = [module for _, module in blocks]
    features = torch.zeros(1, 3, image_size, image_size)
    shapes = [_shape(features)]
    with evaluation_mode(*modules), torch.no_grad():
        for module in modules:
            features = module(features)
            shapes.append(_shape(features))
    return shapes


def _shape(features: Tensor) -> Shape:
    return features.shape[1], features.shape[2], features.shape[3]
