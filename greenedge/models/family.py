"""What the networks of one family have in common: how they are cut into blocks and a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

Blocks = list[tuple[str, nn.Module]]


@dataclass(frozen=True)
class Family:
    """Networks that are cut in the same way.

    Attributes:
        blocks: from a network to its named blocks.
        classifier: from a network to its classifier, a module of its own layers that reads the last block's output
            and gives logits (N, C).
        classifier_name: the state-dict name of the last linear layer.
        small_stem: replaces the stem by a 3x3 stride-1 convolution without pooling, where that is supported.
    """

    blocks: Callable[[nn.Module], Blocks]
    classifier: Callable[[nn.Module], nn.Module]
    classifier_name: str
    small_stem: Callable[[nn.Module], None] | None = None
