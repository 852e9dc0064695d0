"""The report's two published classes, for people who have its weight files or its code.

Elsewhere in greenedge a network knows nothing of thresholds; these two decide by themselves, as published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from greenedge.errors import CheckpointError
from greenedge.models.entropy import entropy
from greenedge.models.exit_heads import paper_head
from greenedge.models.installed import torchvision
from greenedge.models.weight_names import COUNTER, PROFILERS, unwrap

PUBLISHED_CLASSES = 200
_STEM = ("conv1", "bn1", "relu", "maxpool", "layer1")
_MIDDLE = ("layer2", "layer3")
_LAST = ("layer4", "avgpool")
# Names that tell a state dict of the classes from others, whatever stands before them.
_TELLING = ("model.layer1.0.conv2.weight", "exit1.7.weight", "exit2.7.weight")
# By the shapes of model.layer1.0.conv2.weight and exit1.7.weight.
_BACKBONES: dict[tuple[int, ...], str] = {(128, 4, 3, 3): "resnext50_32x4d", (64, 64, 3, 3): "resnet50"}
_IMAGE_SIZES: dict[tuple[int, ...], int] = {(PUBLISHED_CLASSES, 16384): 64, (PUBLISHED_CLASSES, 65536): 128}


class _EarlyExitCustomNet(nn.Module):
    """ResNeXt-50 or ResNet-50 with exits after `layer1` and `layer3` (GreenEdge report, 2024).

    In training mode `forward` gives the three exits' logits, a list of (N, 200); in evaluation mode the predicted
    classes, int64 (N,): an image exits at the first exit whose entropy is strictly below `T` nats, and only those
    that stay are passed on; the last exit takes the rest.

    Args:
        device: where the network lies.
        resnext: ResNeXt-50 (32x4d), or else ResNet-50.
        T: the threshold, in nats; with 0 no image exits early.
        weights: of the backbone, as torchvision's constructors take them.
    """

    image_size: ClassVar[int]

    def __init__(
        self,
        device: torch.device | str,
        resnext: bool = True,  # the published signature
        T: float = 0,  # noqa: N803
        weights: Any = None,
    ) -> None:
        super().__init__()
        build = torchvision.models.resnext50_32x4d if resnext else torchvision.models.resnet50
        self.T = T
        self.model: nn.Module = build(weights=weights)
        self.model.fc = nn.Linear(2048, PUBLISHED_CLASSES)
        self.f1, self.f2, self.f3 = (
            nn.Sequential(*(self.model.get_submodule(name) for name in names)) for names in (_STEM, _MIDDLE, _LAST)
        )
        side = self.image_size // 4
        self.exit1 = paper_head((256, side, side), PUBLISHED_CLASSES)
        self.exit2 = paper_head((1024, side // 4, side // 4), PUBLISHED_CLASSES)
        self.exit3 = nn.Sequential(self.f3, nn.Flatten(), nn.Linear(2048, PUBLISHED_CLASSES))
        self.to(device)

    def forward(self, images: Tensor) -> list[Tensor] | Tensor:
        """Logits of all exits, or predicted classes; images (N, 3, S, S), normalised."""
        if self.training:
            first = self.f1(images)
            second = self.f2(first)
            return [self.exit1(first), self.exit2(second), self.exit3(second)]
        features = self.f1(images)
        logits = self.exit1(features)
        predictions: Tensor = logits.argmax(dim=1)
        stays = (entropy(logits) >= self.T).nonzero().flatten()
        if len(stays) > 0:
            features = self.f2(features[stays])
            logits = self.exit2(features)
            predictions[stays] = logits.argmax(dim=1)
            again = (entropy(logits) >= self.T).nonzero().flatten()
            if len(again) > 0:
                predictions[stays[again]] = self.exit3(features[again]).argmax(dim=1)
        return predictions

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Admits the parts' names, such as `f1.layer1.`, where their places, `f1.4.`, are expected."""
        for name in [name for name in state_dict if name.startswith(prefix)]:
            numbered = prefix + _numbered(name.removeprefix(prefix))
            state_dict[numbered] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *others)


class EarlyExitCustomNet64(_EarlyExitCustomNet):
    """For images of 64 px."""

    image_size = 64


class EarlyExitCustomNet128(_EarlyExitCustomNet):
    """For images of 128 px."""

    image_size = 128


@dataclass(frozen=True, eq=False)
class PublishedWeights:
    """A state dict of the published classes, in greenedge's own names.

    Attributes:
        tensors: for a `MultiExitNetwork` with `paper` heads after `layer1` and `layer3`.
        backbone: `resnext50_32x4d` or `resnet50`.
        image_size: 64 or 128 pixels.
    """

    tensors: dict[str, Tensor]
    backbone: str
    image_size: int


def translate_published(state: Mapping[str, Tensor]) -> PublishedWeights:
    """Renames a state dict of the published classes and finds out which of them it belongs to.

    What data parallelism or compilation put before the names is passed over, as are profilers' counters; counters of
    batch norms that are missing are 0.

    Raises:
        CheckpointError: it is none, or the names that stand for one tensor hold different ones.
    """
    plain = unwrap(state, _TELLING).tensors
    state = {_numbered(name): tensor for name, tensor in plain.items() if not name.endswith(PROFILERS)}
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        own = _own_name(name)
        if own is None:
            continue
        if own in tensors and not torch.equal(tensors[own], tensor):
            raise CheckpointError(f"{name} differs from the same tensor under another of its names")
        tensors[own] = tensor
    for name in [name for name in tensors if name.endswith(".running_mean")]:
        tensors.setdefault(f"{name.removesuffix('running_mean')}{COUNTER}", torch.tensor(0))
    nothing = torch.empty(0)
    grouped = tensors.get("backbone.layer1.0.conv2.weight", nothing).shape
    inputs = tensors.get("heads.0.7.weight", nothing).shape
    backbone = _BACKBONES.get(tuple(grouped))
    image_size = _IMAGE_SIZES.get(tuple(inputs))
    if backbone is None or image_size is None:
        raise CheckpointError(
            "is no state dict of the published networks (ResNeXt-50 or ResNet-50 with `model.`, `exit1.`, `exit2.` and "
            "`exit3.` for 64 or 128 px and 200 classes)"
        )
    return PublishedWeights(tensors, backbone, image_size)


def _own_name(name: str) -> str | None:
    """The name in a `MultiExitNetwork`, or None for `model.fc`, which the published networks never use."""
    part, _, rest = name.partition(".")
    if part == "model":
        return None if rest.startswith("fc.") else f"backbone.{rest}"
    if part in ("exit1", "exit2"):
        return f"heads.{int(part[-1]) - 1}.{rest}"
    if name.startswith("exit3.2."):
        return f"backbone.fc.{name.removeprefix('exit3.2.')}"
    if name.startswith("exit3.0."):
        part, rest = "f3", name.removeprefix("exit3.0.")
    stages = {"f1": _STEM, "f2": _MIDDLE, "f3": _LAST}.get(part)
    number, _, inner = rest.partition(".")
    if stages is None or not number.isdecimal() or int(number) >= len(stages):
        return name  # unknown; it will not fit the network
    return f"backbone.{stages[int(number)]}.{inner}"


def _numbered(name: str) -> str:
    """`f1.layer1.0.x` -> `f1.4.0.x`; other names stay."""
    for prefix, stages in (("f1", _STEM), ("f2", _MIDDLE), ("f3", _LAST), ("exit3.0", _LAST)):
        for place, stage in enumerate(stages):
            name = re.sub(rf"^{re.escape(prefix)}\.{stage}\.", f"{prefix}.{place}.", name)
    return name
