"""The blocks of a network that exits could come after, with what a classifier there would say and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from greenedge.exits.outputs import ExitOutputs


@dataclass(frozen=True, eq=False)
class Candidates:
    """P blocks, first to last, and the network's own classifier behind them.

    Attributes:
        names: of the P blocks.
        logits: float32 (P + 1, N, C): of each block's probe, and of the network's own classifier.
        labels: int64 (N,), the true classes.
        trunk_gflops: float64 (P + 1,): of the blocks from the one before up to each, and of those behind the last.
        head_gflops: float64 (P + 1,): of an exit's head after each block, and of the network's own classifier.

    Raises:
        ValueError: shapes that do not fit each other.
    """

    names: tuple[str, ...]
    logits: np.ndarray
    labels: np.ndarray
    trunk_gflops: np.ndarray
    head_gflops: np.ndarray

    def __post_init__(self) -> None:
        """Checks the shapes."""
        wanted = len(self.names) + 1
        if not len(self.logits) == len(self.trunk_gflops) == len(self.head_gflops) == wanted:
            raise ValueError(f"{len(self.names)} blocks need {wanted} logits and costs")

    def __repr__(self) -> str:
        return f"Candidates({len(self.names)} blocks, {len(self.labels)} images, {self.plain_gflops:.4g} GFLOPs)"

    @cached_property
    def accuracy(self) -> np.ndarray:
        """float64 (P + 1,), in [0, 1]: of each probe, and of the network's own classifier."""
        means: np.ndarray = (self.logits.argmax(axis=2) == self.labels).mean(axis=1)
        return means

    @property
    def backbone_gflops(self) -> np.ndarray:
        """float64 (P + 1,): of all blocks up to each, without heads."""
        return np.cumsum(self.trunk_gflops)

    @property
    def standalone_gflops(self) -> np.ndarray:
        """float64 (P + 1,): of each exit if it were the only one; last, of the backbone without exits."""
        gflops: np.ndarray = self.backbone_gflops + self.head_gflops
        return gflops

    @property
    def plain_gflops(self) -> float:
        """Of the backbone without exits."""
        return float(self.standalone_gflops[-1])

    def exit_gflops(self, blocks: Sequence[int]) -> np.ndarray:
        """float64 (K + 1,): cost of an image at each exit after these blocks, all heads before it included.

        Args:
            blocks: K positions among the candidates, rising.
        """
        places = [*blocks, len(self.names)]
        gflops: np.ndarray = self.backbone_gflops[places] + np.cumsum(self.head_gflops[places])
        return gflops

    def outputs(self, blocks: Sequence[int]) -> ExitOutputs:
        """What a network with exits after these blocks would give, of all images.

        Args:
            blocks: positions among the candidates, rising.
        """
        places = [*blocks, len(self.names)]
        return ExitOutputs(self.logits[places], self.labels, self.exit_gflops(blocks), self.standalone_gflops[places])

    def undominated(self) -> tuple[int, ...]:
        """The blocks whose exit, alone, is beaten in both accuracy and cost by no other, nor by the backbone."""
        costs, accuracy = self.standalone_gflops, self.accuracy
        return tuple(
            block
            for block in range(len(self.names))
            if not ((costs < costs[block]) & (accuracy > accuracy[block])).any()
        )
