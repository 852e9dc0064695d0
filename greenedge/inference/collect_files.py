"""The logits of every exit for image files, from one pass, with few of the images in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from greenedge.data.image_files import FailedImage
from greenedge.data.loader import InputTransform
from greenedge.errors import DataError
from greenedge.inference.classify import decode_files
from greenedge.inference.engine import Engine


def collect_file_logits(
    engine: Engine,
    transform: InputTransform,
    images: Sequence[Path],
    size: int,
    batch_size: int,
    *,
    description: str = "running",
) -> np.ndarray:
    """Runs all exits on image files; unlike in `classify_files`, each of them has to be usable.

    Args:
        engine: runs the network.
        transform: from stored images to its input.
        images: N files.
        size: pixels per side that they are decoded to.
        batch_size: images at a time.
        description: of the bar.

    Returns:
        float32 (E, N, C), all finite.

    Raises:
        DataError: a file cannot be used.
        CheckpointError: an exit gives logits that are NaN or infinite.
    """
    chunks = []
    with tqdm(total=len(images), desc=description, unit=" images", disable=None, leave=False) as bar:
        for group in decode_files(images, size, batch_size):
            for each, _ in group:
                if isinstance(each, FailedImage):
                    raise DataError(each.error)
            pixels = np.stack([content for _, content in group if content is not None])
            logits = engine.logits(transform(torch.from_numpy(pixels).to(engine.network.device)))
            chunks.append(logits.float().cpu())
            bar.update(len(group))
    return torch.cat(chunks, dim=1).numpy()
