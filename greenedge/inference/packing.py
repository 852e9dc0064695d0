"""Convolutions whose weights lie in the order that oneDNN computes in, so that no call has to sort them anew.

PyTorch's own convolution sorts its weights on every call on a CPU; at small batches that takes longer than the
arithmetic. `torch.compile` with frozen weights uses the same operators.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


class PackedConv2d(nn.Module):
    """A convolution of constant weights on a CPU.

    The weights are packed twice, for single images and for batches: oneDNN may want another order for each, and sorts
    them anew where it gets the wrong one, at up to six times the cost.

    Args:
        conv: zero-padded, in evaluation mode, float32 or bfloat16.
        image_shape: (C, H, W) of what it reads.
        batch: images at a time, usually; any other number is computed as well.
    """

    def __init__(self, conv: nn.Conv2d, image_shape: list[int], batch: int) -> None:
        super().__init__()
        self.geometry = (_pair(conv.padding), _pair(conv.stride), _pair(conv.dilation), conv.groups)
        shapes = ([1, *image_shape], [batch, *image_shape])
        # In oneDNN's own layout, which no state dict can hold.
        self.single, self.batched = (
            cast(Tensor, _operators()._reorder_convolution_weight(conv.weight.detach(), *self.geometry, shape))
            for shape in shapes
        )
        self.bias = None if conv.bias is None else conv.bias.detach()

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        packed = self.single if len(images) == 1 else self.batched
        result = _operators()._convolution_pointwise(images, packed, self.bias, *self.geometry, "none", [], "")
        return cast(Tensor, result)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the operators, and they take weights of that type on this CPU.

    They are those of PyTorch's own compiler, which carry no promise of staying. On CPUs without AVX-512 they refuse
    bf16, which the ordinary convolution computes there as well.
    """
    operators = ("_reorder_convolution_weight", "_convolution_pointwise", "_is_mkldnn_bf16_supported")
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or not all(hasattr(_operators(), name) for name in operators):
        return False
    return dtype != torch.bfloat16 or bool(_operators()._is_mkldnn_bf16_supported())


def pack_convolutions(module: nn.Module, example: tuple[Tensor, ...], batch: int) -> None:
    """Replaces, in place, the convolutions that `module` runs on the inputs of one image, `batch` of them usually."""
    shapes: dict[nn.Module, list[int]] = {}

    def note(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[conv] = list(inputs[0].shape[1:])

    convolutions = [child for child in module.modules() if _packable(child)]
    handles = [conv.register_forward_pre_hook(note) for conv in convolutions]
    try:
        module(*example)
    finally:
        for handle in handles:
            handle.remove()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child in shapes:
                setattr(parent, name, PackedConv2d(child, shapes[child], batch))


def _packable(module: nn.Module) -> bool:
    # Subclasses, such as timm's, may pad or standardise on their own.
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _pair(value: Any) -> list[int]:
    return [int(each) for each in value]


def _operators() -> Any:
    return torch.ops.mkldnn
