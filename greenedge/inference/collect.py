"""One pass over a split, keeping the logits of every exit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from greenedge.data.loader import InputTransform, iterate_batches
from greenedge.data.prepared import PreparedSplit
from greenedge.inference.finite import check_finite_logits
from greenedge.models.modes import evaluation_mode

_BATCH_SIZE = 250


def collect_logits(
    network: nn.Module,
    split: PreparedSplit,
    transform: InputTransform,
    batch_size: int = _BATCH_SIZE,
    autocast: torch.dtype | None = None,
) -> np.ndarray:
    """Runs a multi-exit network over a split in evaluation mode, and puts its mode back.

    Args:
        network: images -> list of E logits (B, C).
        split: N images.
        transform: from stored images to the network's input.
        batch_size: images at a time.
        autocast: the type of cheap operations, or None for float32.

    Returns:
        float32 (E, N, C), all finite.

    Raises:
        CheckpointError: an exit gives logits that are NaN or infinite.
    """
    device = next(network.parameters()).device
    with evaluation_mode(network), torch.autocast(device.type, autocast, enabled=autocast is not None):
        return map_split(lambda images: torch.stack(network(images)), split, transform, device, batch_size)


def map_split(
    forward: Callable[[Tensor], Tensor],
    split: PreparedSplit,
    transform: InputTransform,
    device: torch.device,
    batch_size: int = _BATCH_SIZE,
) -> np.ndarray:
    """Logits of every image of a split.

    Args:
        forward: images -> logits (E, B, C), such as `Engine.logits`.
        split: N images.
        transform: from stored images to the network's input.
        device: where that lies.
        batch_size: images at a time.

    Returns:
        float32 (E, N, C), all finite.

    Raises:
        CheckpointError: an exit gives logits that are NaN or infinite.
    """
    chunks = []
    with (
        torch.inference_mode(),
        tqdm(total=len(split), desc=f"running {split.name}", unit=" images", disable=None, leave=False) as bar,
    ):
        for batch in iterate_batches(split, batch_size, device=device):
            logits = forward(transform(batch.images)).float().cpu()
            check_finite_logits(logits)
            chunks.append(logits)
            bar.update(len(batch.images))
    return torch.cat(chunks, dim=1).numpy()
