"""Predictions with early exit, from tensors, images and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from greenedge import inference
from greenedge.data.decode import decode_image, to_stored
from greenedge.data.loader import build_transform
from greenedge.device.precision import Precision, choose_device
from greenedge.errors import UsageError
from greenedge.exits.policy import ExitPolicy, read_policy, shared_policy
from greenedge.inference import Predictions
from greenedge.models.build import to_device
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.trained import TrainedModel
from greenedge.workflows.models import ExportedModel, resolve_precision

ImageLike = str | Path | Image.Image | np.ndarray


class Engine(inference.Engine):
    """Runs a network under a policy, early exit included, over tensors, PIL images, arrays and files.

    Args:
        model: a trained network or an export, whose preprocessing is used for images; or a network, for normalised
            tensors.
        policy: when images exit: a policy, the file of one, or None for no early exit.
        precision: `float32`, `bf16`, or `auto`: the policy's, else by the rule of `device/precision.py`.
        device: `cpu`, `cuda`, ...; None: a GPU where there is one.
        compiled: put the stages through `torch.compile`; takes minutes.

    Raises:
        UsageError: the policy is for another network, or invalid.
    """

    def __init__(
        self,
        model: TrainedModel | MultiExitNetwork,
        policy: ExitPolicy | str | Path | None = None,
        *,
        precision: Precision = "auto",
        device: str | None = None,
        compiled: bool = False,
    ) -> None:
        if policy is None:
            policy = shared_policy("entropy", None, model.num_exits - 1)
        elif not isinstance(policy, ExitPolicy):
            if not isinstance(model, TrainedModel):
                raise UsageError("a policy's file is for a trained network; give load_checkpoint(...)")
            policy = read_policy(Path(policy), model.exits, model.digest).policy
        self._model = model if isinstance(model, TrainedModel) else None
        if isinstance(model, ExportedModel):
            if compiled or device not in (None, "cpu"):
                raise UsageError("an export runs on the CPU, in its own runtime; leave out compiled and device")
            resolve_precision(model, precision)
            super().__init__(model.backend, policy)
            return
        network = model.network if isinstance(model, TrainedModel) else model
        chosen = torch.device(device) if device is not None else choose_device("auto")
        network = to_device(network, chosen, channels_last=True)
        cost = model.cost if isinstance(model, TrainedModel) else None
        super().__init__(network, policy, precision=precision, compiled=compiled, cost=cost)

    def predict(self, images: Tensor | Sequence[ImageLike]) -> Predictions:
        """Predicts a batch.

        Args:
            images: float (N, 3, S, S), normalised; or a sequence of PIL images, uint8 arrays (H, W, 3) or (H, W), and
                files, each prepared as the network's training images were.

        Raises:
            UsageError: tensors of another shape or type, or images for a network without preprocessing.
            DataError: no images, or one that cannot be used.
        """
        if isinstance(images, Tensor):
            return super().predict(images)
        if self._model is None:
            raise UsageError("this engine knows no preprocessing; give a normalised tensor, or load_checkpoint(...)")
        size = self._model.stored_size
        stored = np.stack([_stored(image, index, size) for index, image in enumerate(images)])
        transform = build_transform(self._model.config.data, channels_last=True)
        return super().predict(transform(torch.from_numpy(stored)))


def _stored(image: ImageLike, index: int, size: int) -> np.ndarray:
    """uint8 (3, size, size)."""
    if isinstance(image, str | Path):
        return decode_image(Path(image).read_bytes(), str(image), size)
    return to_stored(image, f"image {index}", size)
