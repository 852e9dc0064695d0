"""Known networks, torchvision's and timm's own, cut into named blocks.

A cut is a list of (name, module) in the order of execution, without the classifier. Blocks refer to the modules of
the original network and hold nothing of their own, so state-dict names and results stay the library's.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from greenedge.config.convert import did_you_mean
from greenedge.errors import ConfigError
from greenedge.models.catalog import BACKBONE_FAMILIES
from greenedge.models.family import Blocks, Family
from greenedge.models.installed import torchvision
from greenedge.models.timm_backbones import TIMM, create_timm, find_timm_family


def _resnet_blocks(net: nn.Module) -> Blocks:
    stem = nn.Sequential(*(net.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")))
    stages = ("layer1", "layer2", "layer3", "layer4")
    return [("stem", stem), *(block for stage in stages for block in _children(net, stage))]


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


def _children(net: nn.Module, parent: str) -> Blocks:
    return [(f"{parent}.{name}", child) for name, child in net.get_submodule(parent).named_children()]


_RESNET = Family(_resnet_blocks, _resnet_classifier, "fc", _resnet_small_stem)
_ALEXNET = Family(_plain_blocks, _plain_classifier, "classifier.6")
_VGG = Family(_plain_blocks, _plain_classifier, "classifier.6")
_EFFICIENTNET = Family(_efficientnet_blocks, _plain_classifier, "classifier.1")

_FAMILIES = {"alexnet": _ALEXNET, "vgg": _VGG, "resnet": _RESNET, "efficientnet": _EFFICIENTNET}

BACKBONES: dict[str, Family] = {name: _FAMILIES[family] for name, family in BACKBONE_FAMILIES.items()}


def find_family(backbone: str) -> Family:
    """The family of a backbone: a name in `BACKBONES`, or `timm/` and one of timm's.

    Raises:
        ConfigError: there is no such backbone.
    """
    if backbone.startswith(TIMM):
        return find_timm_family(backbone)
    if backbone not in BACKBONES:
        hint = did_you_mean(backbone, BACKBONES) or f"known are {', '.join(BACKBONES)}, and timm/NAME"
        raise ConfigError(f"there is no {backbone!r}; {hint}", key="backbone")
    return BACKBONES[backbone]


def build_backbone(backbone: str, num_classes: int, stem: str = "imagenet") -> nn.Module:
    """The torchvision or timm network, randomly initialised as they do.

    Args:
        backbone: a name in `BACKBONES`, or `timm/` and one of timm's.
        num_classes: outputs of the classifier.
        stem: `imagenet`, or `small` for a 3x3 stride-1 convolution without pooling (ResNet family).

    Raises:
        ConfigError: there is no such backbone, or it has no small stem.
    """
    family = find_family(backbone)
    net: nn.Module
    if backbone.startswith(TIMM):
        net = create_timm(backbone, num_classes)
    else:
        net = torchvision.models.get_model(backbone, weights=None, num_classes=num_classes)
    if stem == "small":
        if family.small_stem is None:
            raise ConfigError(f"{backbone} has no small stem; only the ResNet family has", key="stem")
        family.small_stem(net)
    return net
