"""What the networks of one family have in common: how they are cut into blocks and a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

Blocks = list[tuple[str, nn.Module]]


@dataclass(frozen=True)
class Family:
    """Networks that are cut in the same way.

    Attributes:
        create: from the name in a config, the number of classes and the pixels per side of the images to a network with
            random weights; the library's own options may follow.
        blocks: from a network to its named blocks.
        classifier: from a network to its classifier, a module of its own layers that reads the last block's output
            and gives logits (N, C).
        classifier_name: the state-dict name of the last linear layer.
        small_stem: replaces the stem by a 3x3 stride-1 convolution without pooling, where that is supported.
        head_input: from a network to a new module that makes the map (N, C, H, W) which heads read of what a block
            hands on; None: they read that as it is.
        adapt_weights: from a state dict as it was published, and the network that is to load it, to one that fits;
            None: those of the library fit.
        stochastic_depth: the library's option for the rate at which the last residual branches are skipped in training;
            None: the family has none.
    """

    create: Callable[..., nn.Module]
    blocks: Callable[[nn.Module], Blocks]
    classifier: Callable[[nn.Module], nn.Module]
    classifier_name: str
    small_stem: Callable[[nn.Module], None] | None = None
    head_input: Callable[[nn.Module], nn.Module] | None = None
    adapt_weights: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]] | None = None
    stochastic_depth: str | None = None
