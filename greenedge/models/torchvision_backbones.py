"""How torchvision's networks are cut into named blocks, family by family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from greenedge.models.family import Blocks, Family
from greenedge.models.installed import torchvision

# Published files of DenseNet have names of before PyTorch 0.4: `norm.1` in place of `norm1`.
_FORMER_DENSE_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def _create(backbone: str, num_classes: int, _image_size: int, **options: float) -> nn.Module:
    network: nn.Module = torchvision.models.get_model(backbone, weights=None, num_classes=num_classes, **options)
    return network


def _create_regnet(backbone: str, num_classes: int, image_size: int) -> nn.Module:
    """Made where numbers are, since torchvision computes the widths with tensors, and brought to the default device."""
    with torch.device("cpu"):
        network = _create(backbone, num_classes, image_size)
    return network.to(torch.get_default_device())


def _resnet_blocks(net: nn.Module) -> Blocks:
    stem = nn.Sequential(*(net.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")))
    stages = ("layer1", "layer2", "layer3", "layer4")
    return [("stem", stem), *chain.from_iterable(_children(net, stage) for stage in stages)]


def _resnet_classifier(net: nn.Module) -> nn.Module:
    return nn.Sequential(net.get_submodule("avgpool"), nn.Flatten(), net.get_submodule("fc"))


def _resnet_small_stem(net: nn.Module) -> None:
    conv = cast(nn.Conv2d, net.get_submodule("conv1"))
    small = nn.Conv2d(3, conv.out_channels, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    net.conv1, net.maxpool = small, nn.Identity()


def _plain_blocks(net: nn.Module) -> Blocks:
    """AlexNet and VGG: a convolution with its norm and activation, or a pooling; named by its last layer."""
    groups: list[Blocks] = []
    for name, layer in _children(net, "features"):
        if not groups or isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            groups.append([])
        groups[-1].append((name, layer))
    return [(group[-1][0], nn.Sequential(*(layer for _, layer in group))) for group in groups]


def _plain_classifier(net: nn.Module) -> nn.Module:
    return nn.Sequential(net.get_submodule("avgpool"), nn.Flatten(), net.get_submodule("classifier"))


def _efficientnet_blocks(net: nn.Module) -> Blocks:
    blocks: Blocks = []
    for name, stage in _children(net, "features"):
        inverted_residuals = type(stage) is nn.Sequential  # the first and the last are one convolution each
        blocks += _children(net, name) if inverted_residuals else [(name, stage)]
    return blocks


def _mobilenet_blocks(net: nn.Module) -> Blocks:
    return _children(net, "features")


def _mobilenet_v2_classifier(net: nn.Module) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.get_submodule("classifier"))


def _regnet_blocks(net: nn.Module) -> Blocks:
    stages = _children(net, "trunk_output")
    return [("stem", net.get_submodule("stem")), *chain.from_iterable(_children(net, name) for name, _ in stages)]


def _convnext_blocks(net: nn.Module) -> Blocks:
    """Its stages alternate with downsamplings, a norm and a convolution."""
    blocks: Blocks = []
    for name, part in _children(net, "features"):
        whole = any(isinstance(layer, nn.Conv2d) for layer in part.children())
        blocks += [(name, part)] if whole else _children(net, name)
    return blocks


def _convnext_classifier(net: nn.Module) -> nn.Module:
    return nn.Sequential(net.get_submodule("avgpool"), net.get_submodule("classifier"))


class DenseStep(nn.Module):
    """A dense layer with all that it adds to: what it reads, and then what it makes of that.

    Args:
        layer: of DenseNet.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + growth, H, W)."""
        return torch.cat([features, self.layer(features)], dim=1)


def _densenet_blocks(net: nn.Module) -> Blocks:
    stem = nn.Sequential(*(net.get_submodule(f"features.{name}") for name in ("conv0", "norm0", "relu0", "pool0")))
    blocks: Blocks = [("stem", stem)]
    for name, part in _children(net, "features"):
        if "denseblock" in name:
            blocks += [(each, DenseStep(layer)) for each, layer in _children(net, name)]
        elif "transition" in name:
            blocks.append((name, part))
    return blocks


def _densenet_classifier(net: nn.Module) -> nn.Module:
    norm, linear = net.get_submodule("features.norm5"), net.get_submodule("classifier")
    return nn.Sequential(norm, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


def _present_dense_names(state: Mapping[str, Tensor], _net: nn.Module) -> dict[str, Tensor]:
    return {_FORMER_DENSE_NAME.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _children(net: nn.Module, parent: str) -> Blocks:
    return [(f"{parent}.{name}", child) for name, child in net.get_submodule(parent).named_children()]


# By the names in `greenedge.models.catalog`.
TORCHVISION_FAMILIES: dict[str, Family] = {
    "alexnet": Family(_create, _plain_blocks, _plain_classifier, "classifier.6"),
    "vgg": Family(_create, _plain_blocks, _plain_classifier, "classifier.6"),
    "resnet": Family(_create, _resnet_blocks, _resnet_classifier, "fc", _resnet_small_stem),
    "efficientnet": Family(
        _create, _efficientnet_blocks, _plain_classifier, "classifier.1", stochastic_depth="stochastic_depth_prob"
    ),
    "mobilenet_v2": Family(_create, _mobilenet_blocks, _mobilenet_v2_classifier, "classifier.1"),
    "mobilenet_v3": Family(_create, _mobilenet_blocks, _plain_classifier, "classifier.3"),
    "regnet": Family(_create_regnet, _regnet_blocks, _resnet_classifier, "fc"),
    "convnext": Family(
        _create, _convnext_blocks, _convnext_classifier, "classifier.2", stochastic_depth="stochastic_depth_prob"
    ),
    "densenet": Family(
        _create, _densenet_blocks, _densenet_classifier, "classifier", adapt_weights=_present_dense_names
    ),
}
