"""Image files classified one after the other, each at the first exit that is confident."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from greenedge.data.decode import decode_image
from greenedge.data.loader import InputTransform
from greenedge.errors import DataError
from greenedge.inference.engine import Engine

_BATCH = 64
_LARGEST_BYTES = 1_000_000_000  # of a file

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class ImagePrediction:
    """What a network predicts for an image.

    Attributes:
        image: the file.
        class_index: of the most likely class.
        probability: of that class, temperatures applied.
        exit_index: where the image exited, counted from 0.
        score: of the policy's criterion.
        gflops: spent on it.
    """

    image: Path
    class_index: int
    probability: float
    exit_index: int
    score: float
    gflops: float


@dataclass(frozen=True)
class FailedImage:
    """An image without a prediction.

    Attributes:
        image: the file.
        error: why, in a sentence that names it.
    """

    image: Path
    error: str


@dataclass(frozen=True, repr=False)
class ClassifiedImages:
    """Predictions for image files.

    Attributes:
        predictions: in the order of the files.
        failed: files that cannot be used.
    """

    predictions: tuple[ImagePrediction, ...]
    failed: tuple[FailedImage, ...]

    @property
    def gflops(self) -> float:
        """Mean per image."""
        return sum(each.gflops for each in self.predictions) / len(self.predictions)

    def __repr__(self) -> str:
        return f"ClassifiedImages({len(self.predictions)} predictions, {len(self.failed)} failed)"


def classify_files(
    engine: Engine, transform: InputTransform, images: Sequence[Path], stored_size: int
) -> ClassifiedImages:
    """Classifies image files.

    Files are decoded as `data prepare` does it: the shorter side scaled to the size of the images the network was
    trained on, and cropped at the centre. Batches of files are decoded as they are needed; a file that cannot be used
    costs no other its prediction, and is logged.

    Args:
        engine: runs the network under its policy.
        transform: from stored images to the network's input.
        images: files, at least one.
        stored_size: pixels per side of the images it was trained on.

    Raises:
        DataError: none of the files can be used.
    """
    used: list[Path] = []
    failed: list[FailedImage] = []

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(images), _BATCH):
            pixels = []
            for path in images[start : start + _BATCH]:
                try:
                    pixels.append(decode_image(_read(path), str(path), stored_size))
                    used.append(path)
                except DataError as error:
                    _log.warning("left out: %s", error)
                    failed.append(FailedImage(path, str(error)))
            if pixels:
                yield transform(torch.from_numpy(np.stack(pixels)).to(engine.network.device))

    columns = ("predictions", "confidence", "exits", "scores", "gflops")
    rows = [
        row
        for batch in engine.stream(batches())
        for row in zip(*(getattr(batch, name).tolist() for name in columns), strict=True)
    ]
    if not rows:
        raise DataError(failed[0].error if len(images) == 1 else f"none of the {len(images)} images can be used")
    predictions = tuple(ImagePrediction(path, *row) for path, row in zip(used, rows, strict=True))
    return ClassifiedImages(predictions, tuple(failed))


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such image")
        if path.stat().st_size > _LARGEST_BYTES:
            raise DataError(f"{path}: is larger than {_LARGEST_BYTES // 10**6} MB, which no image is")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
