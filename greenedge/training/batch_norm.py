"""Checks that batch norms have enough values to normalise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from greenedge.errors import TrainingError
from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.settings import TrainSettings


def check_batch_norms(network: MultiExitNetwork, settings: TrainSettings, images: int) -> None:
    """Checks that each batch norm gets more than one value per channel: from two images, or two pixels.

    Args:
        network: only the training modes of its modules change.
        settings: of the training; its last epoch trains the most blocks.
        images: number of images in the training split.

    Raises:
        TrainingError: a step has one image, and a batch norm sees one pixel of it.
    """
    if min(settings.batch_size, images) // settings.parts > 1:
        return

    # The batch norms that use batch statistics in the last epoch.
    network.train()
    network.freeze(settings.frozen_blocks(settings.epochs - 1))
    watched = {module for module in network.modules() if isinstance(module, _BatchNorm) and module.training}
    network.freeze(0)

    starved: list[nn.Module] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            starved.append(module)

    hooks = [module.register_forward_pre_hook(look) for module in watched]
    try:
        with evaluation_mode(network), torch.no_grad():
            device = next(network.parameters()).device
            blank = torch.zeros(1, 3, network.image_size, network.image_size, device=device)
            network(blank, tuple(settings.weights(settings.epochs - 1)))
    finally:
        for hook in hooks:
            hook.remove()

    if starved:
        name = next(name for name, module in network.named_modules() if module is starved[0])
        source, whole = "there is one training image", "train on batches of 2 or more"
        if settings.batch_size == 1:
            source = "train.batch_size is 1"
        if settings.parts > 1:
            source, whole = (
                f"a step is computed in {settings.parts} parts of one image",
                "make each part 2 images or more",
            )
        raise TrainingError(f"{source}, and the batch norm {name} needs more than one value per channel; {whole}")
