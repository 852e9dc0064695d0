"""Reads batches from either store and transforms them into a network's input."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from greenedge.config import DataConfig
from greenedge.config.schema import IMAGENET_MEAN, IMAGENET_STD
from greenedge.data.ahead import map_ahead
from greenedge.data.crops import RandomCrops
from greenedge.data.prepared import PreparedSplit
from greenedge.device.machine import usable_cpus

# Batches that are ready, or being read, before the one in use is done with.
_AHEAD = 2
# Originals that a thread decodes at a time: few, so that all threads are busy until the end of a batch.
_PIECE, _MAX_THREADS = 8, 32


@dataclass(frozen=True)
class Batch:
    """Images and their labels.

    Attributes:
        images: (B, 3, H, W), uint8, or float in [0, 1].
        targets: int64 (B,) class indices, or float (B, C) class probabilities after mixing.
        num_classes: C.
    """

    images: Tensor
    targets: Tensor
    num_classes: int

    def select(self, rows: slice) -> Batch:
        """The batch of some of its images."""
        return replace(self, images=self.images[rows], targets=self.targets[rows])


@dataclass(frozen=True)
class InputTransform:
    """Turns stored images into the network's input: resized, scaled to [0, 1] and normalised.

    Attributes:
        image_size: pixels per side; images of other sizes are resized (antialiased bicubic).
        mean: of each channel, for pixels in [0, 1].
        std: of each channel, likewise.
        channels_last: memory layout of the result.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels_last: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Turns (B, 3, H, W), uint8 or float in [0, 1], into float32 (B, 3, image_size, image_size)."""
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        std, mean = _per_channel(self.std, images.device), _per_channel(self.mean, images.device)
        # A copy, since the operations below work in place.
        pixels = images.to(torch.float32, copy=True)
        if pixels.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp_(0, scale)
        pixels = pixels.mul_(1 / (std * scale)).sub_(mean / std)
        # Last, because arithmetic with one number per channel is several times slower in this layout.
        return pixels.contiguous(memory_format=torch.channels_last) if self.channels_last else pixels


def build_transform(config: DataConfig, *, channels_last: bool) -> InputTransform:
    """How stored images are presented to the network of a config."""
    return InputTransform(config.input_size, config.mean or IMAGENET_MEAN, config.std or IMAGENET_STD, channels_last)


def iterate_batches(
    split: PreparedSplit,
    batch_size: int,
    order: Tensor | None = None,
    device: torch.device | str = "cpu",
    *,
    check: bool = True,
    crops: RandomCrops | None = None,
) -> Iterator[Batch]:
    """Reads a split in batches of uint8 images.

    Originals are decoded by several threads, and arrays for a GPU are read into pinned memory by one, before they are
    asked for. Arrays for a network on a CPU are not: reading takes 0.2 % of the time of a step, all that a thread could
    win (docs/data.md, `scripts/benchmarks/prefetch.py`).

    Args:
        split: the images.
        batch_size: images per batch; the last batch may hold fewer.
        order: int64 (n,): positions within the split, in the wanted order; None: as stored.
        device: where the batches go.
        check: compare each image with the digest from its preparation.
        crops: of originals; None: the largest square at the centre.

    Raises:
        DataError: an image has changed since.
    """
    rows = split.rows if order is None else split.rows[order.numpy()]
    size = batch_size if split.originals is None else min(batch_size, _PIECE)
    pinned = _is_gpu(device) and size == batch_size

    def read(piece: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(split.read(piece, check=check, crops=crops))
        return pixels.pin_memory() if pinned else pixels

    pieces = (piece for batch in _in_parts(rows, batch_size) for piece in _in_parts(batch, size))
    ahead = _AHEAD * math.ceil(batch_size / size)
    with closing(map_ahead(read, pieces, threads=_threads(split, device), ahead=ahead)) as images:
        for chosen in _in_parts(rows, batch_size):
            found = list(islice(images, math.ceil(len(chosen) / size)))
            pixels = found[0] if len(found) == 1 else torch.cat(found)
            targets = torch.from_numpy(split.labels[chosen])
            yield Batch(to_device(pixels, device), to_device(targets, device), num_classes=len(split.classes))


def _in_parts(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _threads(split: PreparedSplit, device: torch.device | str) -> int:
    """How many threads read images before they are asked for."""
    if split.originals is None:
        return 1 if _is_gpu(device) else 0
    return min(usable_cpus(), _MAX_THREADS)


def _is_gpu(device: torch.device | str) -> bool:
    return torch.device(device).type == "cuda"


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Moves a tensor to a device; to a GPU it is copied from pinned memory without waiting."""
    if not _is_gpu(device) or tensor.device.type != "cpu":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


@lru_cache(maxsize=64)
def _per_channel(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """Returns float32 (1, 3, 1, 1), cached per device, since a step would wait for each new copy."""
    # The cached tensor may be made while evaluating and used while training.
    with torch.inference_mode(mode=False):
        return torch.tensor(values, device=device).view(1, 3, 1, 1)
