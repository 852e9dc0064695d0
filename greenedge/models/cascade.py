"""Several networks with exits, one after the other: an image that no exit of one settles goes on to the next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from greenedge.data.loader import InputTransform
from greenedge.models.gradients import HeadGradient
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import Segment, Shape

INPUT = "input"


class MemberInput(nn.Module):
    """What a member of a cascade does to the cascade's images first: resizes and normalises them as it was trained.

    Args:
        transform: that of the member.
    """

    def __init__(self, transform: InputTransform) -> None:
        super().__init__()
        self.transform = transform
        # Follows the network from type to type, and is no weight.
        self.register_buffer("follows", torch.empty(0), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) with pixels in [0, 1] to (N, 3, s, s), computed in float32."""
        pixels = self.transform(images.float())
        return pixels.to(cast(Tensor, self.follows).dtype)

    def extra_repr(self) -> str:
        """The size."""
        return f"{self.transform.image_size} px"


class Cascade(MultiExitNetwork):
    """A network of networks: all exits of the first member, then all of the second, and so on.

    Each member sees the whole image at its own size, so it starts anew: the costs of members add up, and what a member
    learned of an image goes on only where a policy joins exits (`exits/ensemble.py`).

    Args:
        members: in the order in which they run.
        transforms: what each does to the images.
        image_size: pixels per side of the images, (N, 3, S, S) with pixels in [0, 1].

    Attributes:
        members: as given; their weights are kept below `members.0.`, `members.1.`, ...
        segments: those of all members; names of blocks begin with the number of their member, `1/` for the first.
    """

    def __init__(
        self, members: Sequence[MultiExitNetwork], transforms: Sequence[InputTransform], image_size: int
    ) -> None:
        nn.Module.__init__(self)
        self.members = nn.ModuleList(members)
        self.inputs = nn.ModuleList(map(MemberInput, transforms))
        self.segments: list[Segment] = []
        shape = (3, image_size, image_size)
        firsts = [0, *accumulate(member.num_exits for member in members)]
        for number, (member, entry, first) in enumerate(zip(members, self.inputs, firsts, strict=False), start=1):
            self.segments += _member_segments(number, member, entry, shape, first)

    @property
    def heads(self) -> nn.ModuleList:  # type: ignore[override]
        """The classifiers of all exits but the final one."""
        return nn.ModuleList(cast(nn.Module, segment.classifier) for segment in self.segments[:-1])

    @property
    def backbone(self) -> nn.Module:  # type: ignore[override]
        """The last member without exits: what the cascade has to beat."""
        return nn.Sequential(self.inputs[-1], cast(MultiExitNetwork, self.members[-1]).backbone)

    def forward(
        self, images: Tensor, exits: Collection[int] | None = None, head_gradient: HeadGradient = "full"
    ) -> list[Tensor]:
        """Logits (N, C) of the exits, first to last; see `MultiExitNetwork.forward`.

        Members of which no exit is wanted are not run.
        """
        wanted = range(self.num_exits) if exits is None else exits
        found: list[Tensor] = []
        first = 0
        for entry, member in zip(self.inputs, self.members, strict=True):
            network = cast(MultiExitNetwork, member)
            own = [index - first for index in wanted if first <= index < first + network.num_exits]
            if own:
                found += network(entry(images), own, head_gradient)
            first += network.num_exits
        return found


def _member_segments(
    number: int, member: MultiExitNetwork, entry: nn.Module, shape: Shape, first_exit: int
) -> list[Segment]:
    """A member's segments, the first of which begins with the cascade's images."""
    found = []
    for index, segment in enumerate(member.segments):
        blocks = [(f"{number}/{name}", block) for name, block in zip(segment.names, segment.blocks, strict=True)]
        shapes = list(segment.shapes)
        if index == 0:
            blocks.insert(0, (f"{number}/{INPUT}", entry))
            shapes.insert(0, shape)
        exit_index = first_exit + index
        found.append(Segment(blocks, shapes, exit_index, segment.classifier, reads_images=index == 0))
        found[-1].former = segment.former
    return found
