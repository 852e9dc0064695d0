"""What a run depends on besides its config: versions and the machine."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

import torch

from greenedge import __version__


def environment(device: torch.device) -> dict[str, str | int]:
    """Versions and the machine, for `environment.json`."""
    return {
        "greenedge": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
    }
