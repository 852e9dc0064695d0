"""What a network answered at every exit, for every image of a split."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.files import write_atomically


@dataclass(frozen=True)
class ExitOutputs:
    """Answers of one network on one split, kept so that the network need not run again.

    Attributes:
        logits: float32 (E, N, C), exits first to last.
        labels: int64 (N,), the true classes.
        gflops: float64 (E,), cost of one image that leaves at each exit, all heads before it included.

    Raises:
        ValueError: shapes that do not fit each other.
    """

    logits: np.ndarray
    labels: np.ndarray
    gflops: np.ndarray

    def __post_init__(self) -> None:
        """Checks the shapes."""
        if self.logits.ndim != 3 or self.labels.shape != self.logits.shape[1:2]:
            raise ValueError(f"logits {self.logits.shape} and labels {self.labels.shape} do not fit")
        if self.gflops.shape != self.logits.shape[:1]:
            raise ValueError(f"logits {self.logits.shape} and gflops {self.gflops.shape} do not fit")

    @property
    def num_exits(self) -> int:
        """E."""
        return len(self.logits)

    def correct(self) -> np.ndarray:
        """Bool (E, N): whether the exit's most likely class is the true one."""
        right: np.ndarray = self.logits.argmax(axis=2) == self.labels
        return right

    def exit_accuracies(self) -> np.ndarray:
        """float64 (E,): the accuracy in [0, 1] of each exit if it took all images."""
        means: np.ndarray = self.correct().mean(axis=1)
        return means


def save_outputs(path: Path, outputs: ExitOutputs, source: str) -> None:
    """Writes `logits`, `labels`, `gflops` and `source` into an .npz file, atomically.

    Args:
        path: the file.
        outputs: what to keep.
        source: names the weights and the images they came from; `load_outputs` asks for it again.
    """
    arrays = {
        "logits": outputs.logits,
        "labels": outputs.labels,
        "gflops": outputs.gflops,
        "source": np.array(source),
    }
    write_atomically(path, lambda temporary: _save(temporary, arrays))


def load_outputs(path: Path, source: str) -> ExitOutputs | None:
    """Reads what `save_outputs` wrote; None where there is nothing readable of the same source."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["source"]) != source:
                return None
            return ExitOutputs(arrays["logits"], arrays["labels"], arrays["gflops"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # absent or damaged: the network runs again


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # np.savez would add .npz to a bare path
        np.savez(file, allow_pickle=False, **arrays)
