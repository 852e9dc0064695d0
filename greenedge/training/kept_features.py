"""Features of a frozen backbone, kept in memory maps, and the heads that are trained on them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from greenedge.data.loader import to_device
from greenedge.models.gradients import HeadGradient
from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import exits_needed

_BATCH_SIZE = 250


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """What a frozen backbone gave for some images.

    Attributes:
        features: of the block before each early exit, float32 (B, C, H, W).
        final_logits: float32 (B, classes), of the final exit.
        targets: int64 (B,).
        teacher_logits: float32 (B, classes) of another network, or None.
    """

    features: tuple[Tensor, ...]
    final_logits: Tensor
    targets: Tensor
    teacher_logits: Tensor | None = None

    def select(self, rows: slice) -> FeatureBatch:
        """The batch of some of its images."""
        return FeatureBatch(
            tuple(each[rows] for each in self.features),
            self.final_logits[rows],
            self.targets[rows],
            None if self.teacher_logits is None else self.teacher_logits[rows],
        )


@dataclass(frozen=True, eq=False)
class KeptFeatures:
    """What a frozen backbone gave for all N images of a split, in V views of each.

    Attributes:
        labels: int64 (N,).
        features: of the block before each early exit, float16 (V * N, C, H, W), view after view; memory maps.
        final_logits: float32 (V * N, classes), of the final exit.
        teacher_logits: float32 (V * N, classes) of another network, or None.
    """

    labels: np.ndarray
    features: tuple[np.ndarray, ...]
    final_logits: np.ndarray
    teacher_logits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shapes = ", ".join(str(each.shape[1:]) for each in self.features)
        return f"KeptFeatures({len(self)} images, {self.views} views, {shapes})"

    @property
    def views(self) -> int:
        """V."""
        return len(self.final_logits) // len(self.labels)

    def batches(
        self, order: Tensor, batch_size: int, epoch: int = 0, device: torch.device | str = "cpu"
    ) -> Iterator[FeatureBatch]:
        """Reads the features of an epoch's view in batches; the views take turns, epoch by epoch.

        Args:
            order: int64 (n,): positions within the split, in the wanted order.
            batch_size: images per batch; the last one may hold fewer.
            epoch: counted from 0; its view is the remainder by V.
            device: where the batches go.
        """
        first_row = epoch % self.views * len(self)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size].numpy()
            rows = first_row + chosen
            teacher = self.teacher_logits
            yield FeatureBatch(
                tuple(_read(each, rows, device) for each in self.features),
                _read(self.final_logits, rows, device),
                to_device(torch.from_numpy(self.labels[chosen]), device),
                None if teacher is None else _read(teacher, rows, device),
            )


class HeadsOnFeatures(nn.Module):
    """The early exits' heads of a network, from kept features to the logits of all exits.

    It stands in for the network in a training step: the weights that it trains are the network's own, and the final
    exit's logits are those that were kept.

    Args:
        network: whose heads it runs.
    """

    def __init__(self, network: MultiExitNetwork) -> None:
        super().__init__()
        self.heads, self.formers = network.heads, network.formers
        self.segments = network.segments[:-1]  # which refer to them

    def forward(
        self, batch: FeatureBatch, exits: Collection[int] | None = None, _head_gradient: HeadGradient = "full"
    ) -> list[Tensor]:
        """Logits (B, classes) of the exits, first to last.

        Args:
            batch: of B images.
            exits: those wanted; None for all. Other heads are not run, but where one wanted sees their logits.
            _head_gradient: makes no difference, since no gradient enters the backbone.
        """
        final = len(self.heads)
        wanted = range(final + 1) if exits is None else exits
        needed = exits_needed(self.segments, wanted)
        found = []
        logits = None
        for index, (segment, features) in enumerate(zip(self.segments, batch.features, strict=True)):
            if index in needed:
                logits = segment.classify(features, logits)
            if index in wanted:
                found.append(cast(Tensor, logits))
        return [*found, batch.final_logits] if final in wanted else found


def kept_logits(network: MultiExitNetwork, kept: KeptFeatures, autocast: torch.dtype | None = None) -> np.ndarray:
    """Logits of every exit in evaluation mode, float32 (E, N, classes), from the first view.

    Args:
        network: whose heads are run.
        kept: features of its blocks.
        autocast: the type of cheap operations, or None for float32.
    """
    heads, device = HeadsOnFeatures(network), next(network.parameters()).device
    chunks = []
    with (
        evaluation_mode(heads),
        torch.inference_mode(),
        torch.autocast(device.type, autocast, enabled=autocast is not None),
    ):
        for batch in kept.batches(torch.arange(len(kept)), _BATCH_SIZE, device=device):
            chunks.append(torch.stack([each.float() for each in heads(batch)]).cpu())
    return torch.cat(chunks, dim=1).numpy()


def _read(array: np.ndarray, rows: np.ndarray, device: torch.device | str) -> Tensor:
    return to_device(torch.from_numpy(np.take(array, rows, axis=0)), device).float()
