"""The cost of a network as plain numbers, stored with its weights so that they need not be counted again."""

from __future__ import annotations

from dataclasses import dataclass

from greenedge.config.convert import CountOrZero, NonNegative


@dataclass(frozen=True)
class ExitCost:
    """The cost of one exit for one image.

    Attributes:
        after: the last block before the exit.
        trunk_gflops: of the backbone's blocks since the previous exit.
        head_gflops: of this exit's head.
        alone_gflops: as if it were the only exit, of all blocks so far and this head, and of heads before whose logits
            it sees.
        gflops: cumulative, of all blocks and all heads up to and including this exit's.
        parameters: cumulative, likewise.
    """

    after: str
    trunk_gflops: NonNegative
    head_gflops: NonNegative
    alone_gflops: NonNegative
    gflops: NonNegative
    parameters: CountOrZero


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network, exit by exit.

    Attributes:
        exits: first to last; the final exit is the last.
        plain_gflops: of the backbone without early exits.
        plain_parameters: likewise.
        uncounted: operators that fvcore cannot count, such as additions, with how often they run.
    """

    exits: tuple[ExitCost, ...]
    plain_gflops: NonNegative
    plain_parameters: CountOrZero
    uncounted: dict[str, CountOrZero]
