"""Image files classified as they come, each at the first exit that is confident."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from greenedge.data.decode import decode_image
from greenedge.data.image_files import FailedImage, read_image_file
from greenedge.data.loader import InputTransform
from greenedge.errors import DataError
from greenedge.inference.engine import Engine

_MAX_THREADS = 8  # more decode no faster


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


@dataclass(frozen=True, repr=False)
class ClassifiedImages:
    """What became of image files.

    Attributes:
        predictions: in the order of the files; of many files perhaps only the first.
        failed: files that cannot be used; of many perhaps only the first.
        exit_counts: images that exited at each exit.
        failed_count: files that cannot be used.
        total_gflops: spent on all images.
    """

    predictions: tuple[ImagePrediction, ...]
    failed: tuple[FailedImage, ...]
    exit_counts: tuple[int, ...]
    failed_count: int
    total_gflops: float

    @property
    def count(self) -> int:
        """Images with a prediction."""
        return sum(self.exit_counts)

    @property
    def gflops(self) -> float:
        """Mean per image."""
        return self.total_gflops / self.count

    def __repr__(self) -> str:
        return f"ClassifiedImages({self.count} predictions, {self.failed_count} failed)"


def classify_files(
    engine: Engine,
    transform: InputTransform,
    images: Iterable[Path | FailedImage],
    stored_size: int,
    batch_size: int,
) -> Iterator[ImagePrediction | FailedImage]:
    """Classifies image files as they come; a file that cannot be used costs no other its prediction.

    Files are decoded as `data prepare` does it: the shorter side scaled to the size of the images the network was
    trained on, and cropped at the centre. One batch is decoded while the engine runs the one before it, and the engine
    holds back at most about a thousand images, so that memory does not grow with the number of files.

    Args:
        engine: runs the network under its policy.
        transform: from stored images to the network's input.
        images: files, and what of them failed before.
        stored_size: pixels per side of the images it was trained on.
        batch_size: images at a time.

    Yields:
        One for each of `images`, in their order.
    """
    waiting: deque[list[Path | FailedImage]] = deque()  # the files behind each batch that the engine has

    def batches() -> Iterator[Tensor]:
        held: list[Path | FailedImage] = []  # of batches without any image
        for group in decode_files(images, stored_size, batch_size):
            pixels = [content for _, content in group if content is not None]
            held += [each for each, _ in group]
            if pixels:
                waiting.append(held)
                held = []
                yield transform(torch.from_numpy(np.stack(pixels)).to(engine.network.device))
        waiting.append(held)  # those after the last batch

    columns = ("predictions", "confidence", "exits", "scores", "gflops")
    for batch in engine.stream(batches()):
        rows = zip(*(getattr(batch, name).tolist() for name in columns), strict=True)
        for each in waiting.popleft():
            yield each if isinstance(each, FailedImage) else ImagePrediction(each, *next(rows))
    for each in waiting.popleft():
        assert isinstance(each, FailedImage)
        yield each


Decoded = tuple[Path | FailedImage, np.ndarray | None]


def decode_files(images: Iterable[Path | FailedImage], size: int, batch_size: int) -> Iterator[list[Decoded]]:
    """Files and their pixels, uint8 (3, size, size), in batches; threads decode the next one meanwhile."""
    remaining = iter(images)
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        ahead = [pool.submit(_decode, each, size) for each in islice(remaining, batch_size)]
        while ahead:
            now, ahead = ahead, [pool.submit(_decode, each, size) for each in islice(remaining, batch_size)]
            yield [task.result() for task in now]


def _decode(image: Path | FailedImage, size: int) -> Decoded:
    if isinstance(image, FailedImage):
        return image, None
    try:
        return image, decode_image(read_image_file(image), str(image), size)
    except DataError as error:
        return FailedImage(image, str(error)), None
