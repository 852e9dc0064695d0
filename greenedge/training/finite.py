"""Numbers that are NaN or infinite end a training before they are saved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from greenedge.errors import TrainingError

if TYPE_CHECKING:
    from greenedge.training.state import TrainingState


def not_finite(subject: str) -> TrainingError:
    """The error of a training that diverged; `subject` is such as `the loss is`."""
    return TrainingError(
        f"{subject} not finite any more; start another run (--out) with a lower learning rate, with "
        "train.gradient_clip_norm, or with train.precision: float32"
    )


def check_finite(state: TrainingState) -> None:
    """Looks at all that would be saved: weights, buffers, their average, and what the optimizer remembers.

    Raises:
        TrainingError: one of these numbers is NaN or infinite; it names the first tensor.
    """
    found = dict(state.network.state_dict())
    if state.averaged is not None:
        found |= {f"average of {name}": tensor for name, tensor in state.averaged.module.state_dict().items()}
    for index, values in enumerate(state.optimizer.state.values()):
        found |= {f"the optimizer's {name} ({index})": each for name, each in values.items() if torch.is_tensor(each)}
    name = first_infinite(found)
    if name is not None:
        raise not_finite(f"{name} is")


def first_infinite(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor with a NaN or an infinite number in it; one look for all of a device's tensors."""
    floats = {name: t.detach() for name, t in tensors.items() if t.is_floating_point() and t.numel() > 0}
    if not floats:
        return None
    # The largest magnitude, which unlike a sum of squares cannot overflow, and which NaN carries through.
    device = next(iter(floats.values())).device
    largest = torch._foreach_norm(list(floats.values()), math.inf)
    finite = torch.stack([each.to(device, torch.float32, non_blocking=True) for each in largest]).isfinite().tolist()
    return next((name for name, is_finite in zip(floats, finite, strict=True) if not is_finite), None)
