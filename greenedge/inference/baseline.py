"""The backbone without exits as a careful user would run it: what the engine has to beat."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from greenedge.cost.latency import time_interleaved
from greenedge.device.precision import exact_float32

_LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Baseline:
    """A backbone in one layout and precision.

    Attributes:
        backbone: from images to logits.
        layout: `NCHW` or `channels_last`.
        dtype: of weights and images.
    """

    backbone: nn.Module
    layout: str
    dtype: torch.dtype

    def __repr__(self) -> str:
        """The kind of network, the layout and the precision."""
        precision = str(self.dtype).removeprefix("torch.")
        return f"Baseline({type(self.backbone).__name__}, {self.layout}, {precision})"

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, C) of float32 images (N, 3, S, S), with no TF32, as in the engine."""
        with exact_float32(images.device, self.dtype):
            logits: Tensor = self.backbone(images.to(dtype=self.dtype, memory_format=_LAYOUTS[self.layout]))
        return logits


def as_trained(backbone: nn.Module) -> Baseline:
    """A copy in float32, laid out as it was trained."""
    return _baseline(backbone, "NCHW", torch.float32)


def best_layout(backbone: nn.Module, dtype: torch.dtype, images: Tensor) -> Baseline:
    """A copy in a precision, in the layout in which it is faster here on these images."""
    found = {layout: _baseline(backbone, layout, dtype) for layout in _LAYOUTS}
    turns: dict[str, Callable[[], object]] = {
        layout: lambda baseline=baseline: baseline(images)  # type: ignore[misc]
        for layout, baseline in found.items()
    }
    seconds = time_interleaved(turns, _ROUNDS)
    return found[min(found, key=lambda layout: median(seconds[layout]))]


def _baseline(backbone: nn.Module, layout: str, dtype: torch.dtype) -> Baseline:
    own = copy.deepcopy(backbone).eval().requires_grad_(requires_grad=False)
    own.to(dtype=dtype, memory_format=_LAYOUTS[layout])  # type: ignore[call-overload]
    return Baseline(own, layout, dtype)
