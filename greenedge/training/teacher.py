"""A trained network that another one learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from greenedge.data.loader import InputTransform
from greenedge.models.multi_exit import MultiExitNetwork


@dataclass(frozen=True, eq=False)
class Teacher:
    """The final exit of a trained network, which sees a batch as it is stored, at its own size.

    Attributes:
        network: in evaluation mode, on the device of the images.
        transform: from stored images to what it was trained on.
        autocast: the type of cheap operations, or None for float32.
    """

    network: MultiExitNetwork
    transform: InputTransform
    autocast: torch.dtype | None = None

    def __repr__(self) -> str:
        return f"Teacher({type(self.network.backbone).__name__}, {self.transform.image_size} px)"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, C) for images (B, 3, H, W), uint8 or float in [0, 1]."""
        enabled = self.autocast is not None
        with torch.autocast(images.device.type, self.autocast, enabled=enabled):
            final: list[Tensor] = self.network(self.transform(images), (self.network.num_exits - 1,))
        return final[0]
