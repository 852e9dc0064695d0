"""The network of a config, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from greenedge.config import RunConfig
from greenedge.config.origins import with_location
from greenedge.data.loader import build_transform
from greenedge.device.memory import disable_malloc_trim
from greenedge.models.cascade import Cascade
from greenedge.models.multi_exit import MultiExitNetwork, build_network


def build_model(config: RunConfig, num_classes: int) -> MultiExitNetwork:
    """The network of a config, with random weights.

    Raises:
        ConfigError: the config describes no possible network.
    """
    with with_location(config, "model"):
        return build_network(config.model, num_classes, config.data.input_size)


def build_cascade(members: Sequence[RunConfig], num_classes: int, image_size: int) -> Cascade:
    """The cascade of some configs' networks, with random weights.

    Args:
        members: in the order in which they run.
        num_classes: outputs of every exit.
        image_size: pixels per side of the images, before each member resizes them.

    Raises:
        ConfigError: a config describes no possible network.
    """
    networks = [build_model(each, num_classes) for each in members]
    transforms = [build_transform(each.data, channels_last=True) for each in members]
    return Cascade(networks, transforms, image_size)


def to_device(network: MultiExitNetwork, device: torch.device, *, channels_last: bool) -> MultiExitNetwork:
    """Moves the network to its device and memory layout; on a CPU, memory is kept from step to step from here on."""
    if device.type == "cpu":
        disable_malloc_trim()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    moved: MultiExitNetwork = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return moved
