"""The network of a config, and where it lies."""

from __future__ import annotations

import torch

from greenedge.config import RunConfig
from greenedge.config.origins import with_location
from greenedge.device.memory import disable_malloc_trim
from greenedge.models.multi_exit import MultiExitNetwork, build_network


def build_model(config: RunConfig, num_classes: int) -> MultiExitNetwork:
    """The network of a config, with random weights.

    Raises:
        ConfigError: the config describes no possible network.
    """
    with with_location(config, "model"):
        return build_network(config.model, num_classes, config.data.input_size)


def to_device(network: MultiExitNetwork, device: torch.device, *, channels_last: bool) -> MultiExitNetwork:
    """Moves the network to its device and memory layout; on a CPU, memory is kept from step to step from here on."""
    if device.type == "cpu":
        disable_malloc_trim()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    moved: MultiExitNetwork = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return moved
