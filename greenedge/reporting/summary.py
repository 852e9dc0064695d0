"""What a result is about: which network, on which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenedge.cost.table import NetworkCost
from greenedge.reporting.names import exit_name


@dataclass(frozen=True)
class RunSummary:
    """A trained network on a split.

    Attributes:
        model: such as `resnet18 with exits after layer1 (light)`.
        epoch: epochs of training behind it.
        split: name of the split.
        images: how many it has.
        precision: `float32`, `bf16` or `int8`, that the network ran in.
        cost: of every exit.
    """

    model: str
    epoch: int
    split: str
    images: int
    precision: str
    cost: NetworkCost

    @property
    def heading(self) -> str:
        """`resnet18 with exits after ..., epoch 6; val: 10000 images`."""
        precision = "" if self.precision == "float32" else f" in {self.precision}"
        return f"{self.model}, epoch {self.epoch}; {self.split}: {self.images} images{precision}"

    @property
    def suffix(self) -> str:
        """Ends the names of result files: nothing for `val`; other splits have files of their own."""
        return "" if self.split == "val" else f"-{self.split}"

    @property
    def num_exits(self) -> int:
        """Early exits and the final one."""
        return len(self.cost.exits)

    @property
    def exit_names(self) -> list[str]:
        """`exit 1`, ..., `final exit`."""
        return [exit_name(index, self.num_exits) for index in range(self.num_exits)]

    @property
    def exit_labels(self) -> list[str]:
        """`exit 1, after layer1.1`, ..."""
        return [f"{name}, after {cost.after}" for name, cost in zip(self.exit_names, self.cost.exits, strict=True)]

    @property
    def standalone_gflops(self) -> np.ndarray:
        """float64 (E,): of each exit if it were the only one."""
        return np.array([cost.alone_gflops for cost in self.cost.exits])

    def exit_records(self, accuracies: Sequence[float]) -> list[dict[str, Any]]:
        """Accuracy and cost of each exit if every image exited there, for JSON."""
        return [
            {"after": cost.after, "accuracy": accuracy, "gflops": cost.gflops, "alone_gflops": cost.alone_gflops}
            for cost, accuracy in zip(self.cost.exits, accuracies, strict=True)
        ]
