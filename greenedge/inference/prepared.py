"""A copy of a network made ready to run fast and never to change: folded, laid out, packed or compiled."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from greenedge.cost.flops import count_costs
from greenedge.device.precision import choose_autocast
from greenedge.inference.chunks import guess_chunks
from greenedge.inference.folding import fold_batch_norms
from greenedge.inference.packing import can_pack, pack_convolutions
from greenedge.inference.stages import PlacedStage, cut_stages
from greenedge.models.multi_exit import MultiExitNetwork

Precision = Literal["auto", "float32", "bf16"]

# A compiled stage has one program for each of these numbers of images, and every batch is a sum of them.
_COMPILED_SIZES = (1, 4, 16, 64)


@dataclass(frozen=True)
class PreparedNetwork:
    """Stages that run in turn.

    Attributes:
        stages: in order.
        modules: what runs each of them.
        device: where they lie.
        dtype: of features and weights.
        gflops: float64 (E,), cost of one image that leaves at each exit.
        sizes: the only numbers of images that a stage may take at a time; None: any.
        identity: what distinguishes it from other networks, whatever the weights.
    """

    stages: tuple[PlacedStage, ...]
    modules: tuple[nn.Module, ...]
    device: torch.device
    dtype: torch.dtype
    gflops: Tensor
    sizes: tuple[int, ...] | None
    identity: str

    def run(self, index: int, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features to hand on and logits, if an exit is there, of one stage."""
        with torch.inference_mode():
            found: tuple[Tensor, Tensor | None] = self.modules[index](features)
        return found


def prepare_network(network: MultiExitNetwork, precision: Precision, *, compiled: bool) -> PreparedNetwork:
    """Prepares a copy.

    Args:
        network: in any mode; it is not changed.
        precision: `float32`, `bf16`, or `auto`: bf16 where this machine is faster in it.
        compiled: run the stages through `torch.compile` with frozen weights.
    """
    device = next(network.parameters()).device
    dtype = choose_autocast(precision, network, device) or torch.float32
    costs = count_costs(network).exits
    own = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    fold_batch_norms(own)
    own.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    stages = cut_stages(own)
    parameters = [sum(parameter.numel() for parameter in stage.module.parameters()) for stage in stages]
    identity = repr([(stage.name, stage.input_shape, count) for stage, count in zip(stages, parameters, strict=True)])
    if not compiled and device.type == "cpu" and can_pack():
        _pack(stages, dtype)
    return PreparedNetwork(
        stages=tuple(stages),
        modules=tuple(_compiled(stage.module) if compiled else stage.module for stage in stages),
        device=device,
        dtype=dtype,
        gflops=torch.tensor([cost.gflops for cost in costs], dtype=torch.float64),
        sizes=_COMPILED_SIZES if compiled else None,
        identity=f"{device.type} {dtype} {compiled} {identity}",
    )


def _pack(stages: list[PlacedStage], dtype: torch.dtype) -> None:
    sizes = guess_chunks(stages, dtype.itemsize, torch.device("cpu"))
    with torch.inference_mode():
        for stage, size in zip(stages, sizes, strict=True):
            features = torch.zeros(size, *stage.input_shape, dtype=dtype)
            pack_convolutions(stage.module, features.contiguous(memory_format=torch.channels_last))


def _compiled(stage: nn.Module) -> nn.Module:
    return cast(nn.Module, torch.compile(stage, dynamic=False, options={"freezing": True}))
