"""What a cut network is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Blocks = list[tuple[str, nn.Module]]


@dataclass(frozen=True)
class Family:
    """Networks that are cut in the same way.

    Attributes:
        blocks: from a torchvision network to its named blocks.
        classifier: from a torchvision network and the last block's output to logits (N, C).
        classifier_name: the state-dict name of the last linear layer.
        small_stem: replaces the stem by a 3x3 stride-1 convolution without pooling, where that is supported.
    """

    blocks: Callable[[nn.Module], Blocks]
    classifier: Callable[[nn.Module, Tensor], Tensor]
    classifier_name: str
    small_stem: Callable[[nn.Module], None] | None = None
