"""The logits of every exit for every image of a split."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.data.arrays import ArrayError, OtherArrayError, read_array
from greenedge.files import write_atomically

# What a damaged zip file makes zipfile raise: an odd compression, an encryption, a member that is not there.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, ArrayError),
    *(OSError, EOFError, KeyError, ValueError, RuntimeError, NotImplementedError, OverflowError),
)


@dataclass(frozen=True, eq=False)
class ExitOutputs:
    """Predictions of one network on one split, kept so that the network need not run again.

    Attributes:
        logits: float32 (E, N, C), exits first to last.
        labels: int64 (N,), the true classes.
        gflops: float64 (E,), cost of one image that exits at each exit, all heads before it included.
        standalone_gflops: float64 (E,), of each exit if it were the only one; None: not known.

    Raises:
        ValueError: shapes that do not fit each other, or numbers that are not finite.
    """

    logits: np.ndarray
    labels: np.ndarray
    gflops: np.ndarray
    standalone_gflops: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Checks the shapes."""
        if self.logits.ndim != 3 or self.labels.shape != self.logits.shape[1:2]:
            raise ValueError(f"logits {self.logits.shape} and labels {self.labels.shape} do not fit")
        if self.gflops.shape != self.logits.shape[:1]:
            raise ValueError(f"logits {self.logits.shape} and gflops {self.gflops.shape} do not fit")
        if self.logits.size == 0:
            raise ValueError(f"logits {self.logits.shape} are of no exit, no image or no class")
        for index, logits in enumerate(self.logits):
            if not np.isfinite(logits).all():
                raise ValueError(f"exit {index + 1} gives logits that are NaN or infinite")
        if not (np.isfinite(self.gflops).all() and (self.gflops >= 0).all() and (np.diff(self.gflops) >= 0).all()):
            raise ValueError(
                f"costs must be at least 0 and rise from exit to exit, found {self.gflops.tolist()} GFLOPs"
            )
        if self.labels.min() < 0 or self.labels.max() >= self.logits.shape[2]:
            raise ValueError(f"labels lie outside 0..{self.logits.shape[2] - 1}")

    def __repr__(self) -> str:
        """The shape, and the cost of each exit."""
        exits, images, classes = self.logits.shape
        gflops = ", ".join(f"{each:.4g}" for each in self.gflops)
        return f"ExitOutputs({exits} exits, {images} images, {classes} classes, GFLOPs [{gflops}])"

    @property
    def num_exits(self) -> int:
        """E."""
        return len(self.logits)

    def correct(self) -> np.ndarray:
        """Bool (E, N): whether the exit's most likely class is the true one."""
        right: np.ndarray = self.logits.argmax(axis=2) == self.labels
        return right

    def subset(self, rows: np.ndarray) -> ExitOutputs:
        """Of some of the images."""
        return replace(self, logits=self.logits[:, rows], labels=self.labels[rows])

    def exit_accuracies(self) -> np.ndarray:
        """float64 (E,): the accuracy in [0, 1] of each exit if it took all images."""
        means: np.ndarray = self.correct().mean(axis=1)
        return means


@dataclass(frozen=True, eq=False)
class ExpectedOutputs:
    """What kept outputs must be of.

    Attributes:
        labels: int64 (N,).
        gflops: float64 (E,).
        num_classes: C.
    """

    labels: np.ndarray
    gflops: np.ndarray
    num_classes: int

    def __repr__(self) -> str:
        """The shape."""
        return f"ExpectedOutputs({len(self.gflops)} exits, {len(self.labels)} images, {self.num_classes} classes)"


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


def load_outputs(path: Path, source: str, expected: ExpectedOutputs) -> ExitOutputs | None:
    """Reads what `save_outputs` wrote.

    Args:
        path: the file.
        source: that it must name.
        expected: what it must hold besides the logits, and the shape of those.

    Returns:
        None where there is no file, or one of another source.

    Raises:
        ValueError: the file is damaged: it holds something else than it should.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            named = _member(archive, "source", np.dtype(f"<U{len(source)}"), ())
            if named is None or str(named) != source:
                return None
            exits, (images,) = len(expected.gflops), expected.labels.shape
            logits = _member(archive, "logits", np.dtype(np.float32), (exits, images, expected.num_classes))
            labels = _member(archive, "labels", np.dtype(np.int64), (images,))
            gflops = _member(archive, "gflops", np.dtype(np.float64), (exits,))
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        raise ValueError(f"is damaged ({error})") from None
    if logits is None or labels is None or gflops is None:
        raise ValueError("is damaged: it holds arrays of other shapes")
    if not (np.array_equal(labels, expected.labels) and np.allclose(gflops, expected.gflops, rtol=1e-9)):
        raise ValueError("is damaged: its labels or costs are not those of these images and weights")
    return ExitOutputs(logits, labels, gflops)


def _member(archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray | None:
    """An array of that very type and shape, or None for another; the zip's check sum has been compared."""
    with archive.open(f"{name}.npy") as file:
        try:
            return read_array(file, dtype, shape)
        except OtherArrayError:
            return None


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # np.savez would add .npz to a bare path
        np.savez(file, allow_pickle=False, **arrays)
