"""Convolutions whose bf16 gradients on a CPU are not to be relied on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork


def one_pixel_convolution(network: MultiExitNetwork) -> str | None:
    """Names a strided convolution with a kernel above 1x1 that sees a single pixel; None where there is none.

    In bf16 on a CPU, oneDNN's gradient of such a convolution's weights holds what the memory held before, where the
    kernel lies beyond the image: now and then NaN, mostly some number (seen with torch 2.14.1). ResNets have one at
    16 px and below.
    """
    found: list[str] = []

    def look(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(module, nn.Conv2d)
            if inputs[0].shape[-2:] == (1, 1) and max(module.stride) > 1 and max(module.kernel_size) > 1:
                found.append(name)

        return hook

    handles = [
        module.register_forward_pre_hook(look(name))  # type: ignore[arg-type]
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    side, parameter = network.image_size, next(network.parameters())
    try:
        with evaluation_mode(network), torch.no_grad():
            network(torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device))
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None
