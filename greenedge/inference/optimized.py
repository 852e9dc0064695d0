"""A copy of a network made ready to run fast and never to change: folded, laid out, packed or compiled."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from greenedge.cost.flops import count_costs
from greenedge.cost.table import NetworkCost
from greenedge.device.precision import Precision, choose_autocast, exact_float32
from greenedge.errors import InstallationError
from greenedge.inference.chunks import default_chunk_size
from greenedge.inference.folding import fold_batch_norms
from greenedge.inference.packing import can_pack, pack_convolutions
from greenedge.models.cascade import MemberInput
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import Segment

# A compiled segment has one program for each of these numbers of images, and every batch is a sum of them.
_COMPILED_SIZES = (1, 4, 16, 32, 64)


@dataclass(frozen=True, eq=False)
class OptimizedNetwork:
    """Segments, each of one resolution, that run in turn.

    Attributes:
        segments: in order.
        modules: what runs each of them, compiled or not.
        device: where they lie.
        dtype: of features and weights.
        gflops: float64 (E,), cost of one image that exits at each exit.
        sizes: the only numbers of images that a segment may take at a time; None: any.
        identity: what distinguishes it from other networks, whatever the weights.
    """

    segments: tuple[Segment, ...]
    modules: tuple[nn.Module, ...]
    device: torch.device
    dtype: torch.dtype
    gflops: Tensor
    sizes: tuple[int, ...] | None
    identity: str

    def __repr__(self) -> str:
        """The segments, the device and the precision."""
        names = ", ".join(segment.span for segment in self.segments)
        precision = str(self.dtype).removeprefix("torch.")
        return f"OptimizedNetwork({names}; {precision} on {self.device})"

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def to_input_format(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in the type and layout that segments read; the same tensor where they are so."""
        images = images.clone() if images.is_inference() else images
        return images.to(dtype=self.image_type, memory_format=torch.channels_last)

    @property
    def image_size(self) -> int:
        """Pixels per side of the images."""
        return self.segments[0].input_shape[1]

    @property
    def precision(self) -> str:
        """`float32` or `bf16`."""
        return "float32" if self.dtype == torch.float32 else "bf16"

    @property
    def image_type(self) -> torch.dtype:
        """Of images."""
        return _item_type(self.segments[0], self.dtype)

    @property
    def keeps_images(self) -> bool:
        """Whether segments beyond the first read images, as in a cascade."""
        return any(segment.reads_images for segment in self.segments[1:])

    @torch.inference_mode(mode=False)
    @torch.no_grad()  # compiled code would be made anew for inference tensors
    def run(self, index: int, features: Tensor, *former_logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features of one segment, and the float32 logits of the exit that it ends at, or None.

        Args:
            index: of the segment.
            features: (N, C, H, W), that it reads.
            former_logits: (N, classes) of the exit before, for a segment that reads them; for no other.
        """
        with exact_float32(self.device, self.dtype):
            features, logits = self.modules[index](features, *former_logits)
        return features, None if logits is None else logits.float()


def optimize_for_inference(
    network: MultiExitNetwork, precision: Precision, *, compiled: bool, cost: NetworkCost | None = None
) -> OptimizedNetwork:
    """Prepares a copy.

    Args:
        network: in any mode; it is not changed.
        precision: `float32`, `bf16`, or `auto`: by the rule of `device/precision.py`.
        compiled: run the segments through `torch.compile` with frozen weights.
        cost: of every exit, where it is known; None: counted here, which takes a second.
    """
    device = next(network.parameters()).device
    dtype = choose_autocast(precision, network, device) or torch.float32
    costs = (cost or count_costs(network)).exits
    own = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    fold_batch_norms(own)
    _cast(own, dtype)
    segments = [part for segment in own.segments for part in segment.split()]
    identity = repr([(each.span, each.input_shape, _count_parameters(each)) for each in segments])

    modules: list[nn.Module] = list(segments)
    if compiled:
        modules = _compiled(segments, device, dtype)
    elif device.type == "cpu" and can_pack(dtype):
        _pack(segments, dtype)
    return OptimizedNetwork(
        segments=tuple(segments),
        modules=tuple(modules),
        device=device,
        dtype=dtype,
        gflops=torch.tensor([cost.gflops for cost in costs], dtype=torch.float64),
        sizes=_COMPILED_SIZES if compiled else None,
        identity=f"{device.type} {dtype} {compiled} {identity}",
    )


def _item_type(segment: Segment, dtype: torch.dtype) -> torch.dtype:
    """Of what a segment reads: that of the network, or float32 where a member of a cascade resizes images first."""
    return torch.float32 if isinstance(segment.blocks[0], MemberInput) else dtype


def _cast(network: MultiExitNetwork, dtype: torch.dtype) -> None:
    """Casts, in place, all but the layers that give logits: their rounding would change predictions."""
    exact = {layer: copy.deepcopy(layer.state_dict()) for layer in network.logit_layers()}
    network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if dtype != torch.float32:
        for layer, state in exact.items():
            layer.float().load_state_dict(state)
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _pack(segments: list[Segment], dtype: torch.dtype) -> None:
    with torch.inference_mode():
        for segment in segments:
            features = torch.zeros(1, *segment.input_shape, dtype=dtype)
            pack_convolutions(segment, (features, *segment.blank_logits(1)), default_chunk_size(features.device))


def _compiled(segments: list[Segment], device: torch.device, dtype: torch.dtype) -> list[nn.Module]:
    """The segments compiled with frozen weights, for every number of images that they may be given later.

    Raises:
        InstallationError: there is no compiler that works.
    """
    from torch._dynamo import config as dynamo_config
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import config as inductor_config

    # All segments of all engines share the code of `Segment.forward`, to which dynamo's limit applies; beyond it
    # nothing is compiled.
    dynamo_config.recompile_limit += len(segments) * len(_COMPILED_SIZES)
    made = []
    # As an option of torch.compile, "freezing" does not reach all that reads it.
    with (
        inductor_config.patch(freezing=True),
        exact_float32(device, dtype),  # as they will run: compiled code is made anew where TF32 is switched
        torch.inference_mode(mode=False),
        torch.no_grad(),
    ):
        for segment in segments:
            module = cast(nn.Module, torch.compile(segment, dynamic=False))
            for size in _COMPILED_SIZES:
                features = torch.zeros(size, *segment.input_shape, dtype=_item_type(segment, dtype), device=device)
                try:
                    module(features.contiguous(memory_format=torch.channels_last), *segment.blank_logits(size, device))
                except (TorchDynamoException, RuntimeError) as error:
                    reason = str(error).strip().split("\n")[0]
                    raise InstallationError(
                        f"the segments cannot be compiled here ({reason}); run without compiling"
                    ) from error
            made.append(module)
    return made
