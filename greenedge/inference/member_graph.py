"""What a member of a cascade does to the images first, in operators that every runtime has."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from greenedge.data.loader import InputTransform
from greenedge.models.cascade import MemberInput
from greenedge.models.segments import Segment


class MemberInputGraph(nn.Module):
    """Resizes and normalises images, as `MemberInput` does, by two matrix products.

    Antialiased bicubic resizing is linear in the pixels of a column, and then in those of a row; runtimes differ in
    whether and how they have it as an operator.

    Args:
        transform: of the member.
        image_size: pixels per side of the cascade's images.
    """

    resize: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, transform: InputTransform, image_size: int) -> None:
        super().__init__()
        self.register_buffer("resize", resize_matrix(image_size, transform.image_size))
        self.register_buffer("mean", torch.tensor(transform.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(transform.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) with pixels in [0, 1] to (N, 3, s, s)."""
        pixels = torch.matmul(torch.matmul(self.resize, images), self.resize.transpose(0, 1)).clamp(0, 1)
        return (pixels - self.mean) / self.std


def resize_matrix(size: int, new_size: int) -> Tensor:
    """float32 (new_size, size): what antialiased bicubic resizing does to a column of pixels."""
    columns = torch.eye(size).view(1, 1, size, size)
    return F.interpolate(columns, (new_size, size), mode="bicubic", antialias=True)[0, 0]


def replace_member_inputs(segments: list[Segment]) -> None:
    """Puts `MemberInputGraph` in the place of every `MemberInput`."""
    for segment in segments:
        entry = segment.blocks[0]
        if isinstance(entry, MemberInput):
            segment.blocks[0] = MemberInputGraph(entry.transform, segment.input_shape[1])
