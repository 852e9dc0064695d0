"""One pass over a split, keeping what every exit answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from greenedge.data.loader import InputTransform, iterate_batches
from greenedge.data.prepared import PreparedSplit
from greenedge.models.modes import evaluation_mode


def collect_logits(
    network: nn.Module,
    split: PreparedSplit,
    transform: InputTransform,
    batch_size: int = 250,
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
        float32 (E, N, C).
    """
    device = next(network.parameters()).device
    chunks = []
    with (
        evaluation_mode(network),
        torch.inference_mode(),
        torch.autocast(device.type, autocast, enabled=autocast is not None),
        tqdm(total=len(split), desc=f"running {split.name}", unit=" images", disable=None, leave=False) as bar,
    ):
        for batch in iterate_batches(split, batch_size, device=device):
            logits = network(transform(batch.images))
            chunks.append(torch.stack(logits).float().cpu())
            bar.update(len(batch.images))
    return torch.cat(chunks, dim=1).numpy()
