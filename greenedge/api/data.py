"""Images and labels, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from greenedge.config.schema import IMAGENET_MEAN, IMAGENET_STD
from greenedge.data.loader import InputTransform, build_transform, iterate_batches
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.data.run_splits import open_named_split
from greenedge.errors import UsageError
from greenedge.training.trained import TrainedModel, open_data


@dataclass(frozen=True, eq=False, repr=False)
class PreparedLoader:
    """Batches of normalised images and labels of a prepared split.

    Attributes:
        split: the images as they are stored.
        transform: to what the network sees.
        batch_size: images per batch; the last may hold fewer.
    """

    split: PreparedSplit
    transform: InputTransform
    batch_size: int = 250

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """float32 (B, 3, S, S) and int64 (B,)."""
        for batch in iterate_batches(self.split, self.batch_size):
            yield self.transform(batch.images), batch.targets

    def __repr__(self) -> str:
        size = self.transform.image_size
        return f"PreparedLoader({self.split.name}: {len(self.split)} images, {size} px, batches of {self.batch_size})"


def load_data(
    source: TrainedModel | str | Path,
    split: Literal["train", "val", "calibration"] = "val",
    *,
    data: str | Path | None = None,
    image_size: int | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    batch_size: int = 250,
) -> PreparedLoader:
    """Loads a prepared data set as batches of normalised images and labels.

    Args:
        source: a trained network, for the data set it was trained on with its own preprocessing; or a folder that
            `greenedge data prepare` made.
        split: `calibration` only for a trained network, whose config says what was set aside.
        data: with a trained network, another data set of the same classes.
        image_size: pixels per side, for a folder; None: as stored.
        mean: of each channel, for a folder; pixels in [0, 1].
        std: likewise.
        batch_size: images per batch.

    Raises:
        DataError: the data set is missing or invalid, or has no such images.
        UsageError: a calibration split of a folder.
    """
    if isinstance(source, TrainedModel):
        prepared = open_data(source, None if data is None else Path(data))
        chosen = open_named_split(prepared, split, source.config.data)
        return PreparedLoader(chosen, build_transform(source.config.data, channels_last=False), batch_size)
    if split == "calibration":
        raise UsageError("a folder has no calibration images; a trained network's config says which were set aside")
    prepared = open_prepared(Path(source))
    size = image_size or prepared.image_size
    transform = InputTransform(size, mean, std)
    return PreparedLoader(prepared.sized(size).split(split), transform, batch_size)
