"""Stops a training when a number is NaN or infinite, before it is saved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from greenedge.errors import TrainingError

if TYPE_CHECKING:
    from greenedge.training.state import TrainingState


def not_finite(subject: str) -> TrainingError:
    """Returns the error of a training that diverged; `subject` is, for example, `the loss is`."""
    return TrainingError(
        f"{subject} no longer finite; start another run (--out) with a lower learning rate, with "
        "train.gradient_clip_norm, or with train.precision: float32"
    )


def check_finite(state: TrainingState) -> None:
    """Checks all that would be saved: weights, buffers, their averages, and the optimizer's state.

    Raises:
        TrainingError: one of these numbers is NaN or infinite; the message names the first such tensor.
    """
    found = dict(state.network.state_dict())
    if state.averaged is not None:
        found |= {f"average of {name}": tensor for name, tensor in state.averaged.module.state_dict().items()}
    if state.mixing is not None:
        found |= {f"the learned mixing's {name}": tensor for name, tensor in state.mixing.state_dict().items()}
    for index, values in enumerate(state.optimizer.state.values()):
        found |= {f"the optimizer's {name} ({index})": each for name, each in values.items() if torch.is_tensor(each)}
    name = first_infinite(found)
    if name is not None:
        raise not_finite(f"{name} is")


def first_infinite(tensors: dict[str, Tensor]) -> str | None:
    """Returns the name of the first tensor with a NaN or infinite number; all tensors are checked in one transfer."""
    floats = {name: t.detach() for name, t in tensors.items() if t.is_floating_point() and t.numel() > 0}
    if not floats:
        return None
    # The largest magnitude, unlike a sum of squares, cannot overflow, and NaN propagates through it.
    device = next(iter(floats.values())).device
    largest = torch._foreach_norm(list(floats.values()), math.inf)
    finite = torch.stack([each.to(device, torch.float32, non_blocking=True) for each in largest]).isfinite().tolist()
    return next((name for name, is_finite in zip(floats, finite, strict=True) if not is_finite), None)
