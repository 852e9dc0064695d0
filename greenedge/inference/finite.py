"""A network whose logits are no numbers gives no predictions, and is not taken for one that does."""

from __future__ import annotations

import torch
from torch import Tensor

from greenedge.errors import CheckpointError, DataError


def check_finite_logits(logits: Tensor) -> None:
    """Looks at the logits of every exit of some images.

    Args:
        logits: (E, N, C).

    Raises:
        CheckpointError: some are NaN or infinite; names the first exit that gives such.
    """
    finite = torch.isfinite(logits).flatten(1).all(dim=1).cpu()
    if not finite.all():
        raise broken_exit(int((~finite).nonzero()[0]))


def broken_exit(exit_index: int) -> CheckpointError:
    """The error of a network whose exit gives logits that are not finite."""
    return CheckpointError(
        f"exit {exit_index + 1} gives logits that are not finite (NaN or infinite), which are no prediction; "
        "the weights are broken: use those of an earlier epoch, or train again"
    )


def finite_images(images: Tensor) -> Tensor:
    """Bool (N,): whether all pixels of each image (N, 3, H, W) are numbers."""
    return torch.isfinite(images).all(dim=3).all(dim=2).all(dim=1)


def check_finite_images(finite: Tensor) -> None:
    """Looks at which images of a batch can be used.

    Args:
        finite: bool (N,), on the CPU.

    Raises:
        DataError: some cannot; names them.
    """
    if not finite.numpy().all():
        raise DataError(f"{name_images(finite, 'the batch')}; fix or leave out")


def name_images(finite: Tensor, batch: str) -> str:
    """`image 4 of the batch holds pixels that are NaN or infinite`, `images 4, 9, ... hold ...`; counted from 0."""
    places = (~finite).nonzero().flatten().tolist()
    shown = ", ".join(map(str, places[:10])) + (f" and {len(places) - 10} more" if len(places) > 10 else "")
    images, hold = ("image", "holds") if len(places) == 1 else ("images", "hold")
    return f"{images} {shown} of {batch} {hold} pixels that are NaN or infinite"
