"""The names of the backbones, for use without torch."""

from __future__ import annotations

from dataclasses import dataclass

# Backbone -> its family, which `greenedge.models.backbones` knows how to cut into blocks. The names are torchvision's:
# `torchvision.models.get_model(name)` builds the network.
BACKBONE_FAMILIES: dict[str, str] = {
    "alexnet": "alexnet",
    "vgg11": "vgg",
    "vgg11_bn": "vgg",
    "vgg13": "vgg",
    "vgg13_bn": "vgg",
    "vgg16": "vgg",
    "vgg16_bn": "vgg",
    "vgg19": "vgg",
    "vgg19_bn": "vgg",
    "resnet18": "resnet",
    "resnet34": "resnet",
    "resnet50": "resnet",
    "resnet101": "resnet",
    "resnet152": "resnet",
    "resnext50_32x4d": "resnet",
    "resnext101_32x8d": "resnet",
    "efficientnet_b0": "efficientnet",
    "efficientnet_b1": "efficientnet",
    "efficientnet_b2": "efficientnet",
    "efficientnet_b3": "efficientnet",
    "efficientnet_b4": "efficientnet",
    "efficientnet_b5": "efficientnet",
    "efficientnet_b6": "efficientnet",
    "efficientnet_b7": "efficientnet",
    "efficientnet_v2_s": "efficientnet",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_small": "mobilenet_v3",
    "mobilenet_v3_large": "mobilenet_v3",
    "regnet_y_400mf": "regnet",
    "regnet_y_800mf": "regnet",
    "regnet_y_1_6gf": "regnet",
    "regnet_y_3_2gf": "regnet",
    "regnet_y_8gf": "regnet",
    "regnet_y_16gf": "regnet",
    "regnet_y_32gf": "regnet",
    "regnet_x_400mf": "regnet",
    "regnet_x_800mf": "regnet",
    "regnet_x_1_6gf": "regnet",
    "regnet_x_3_2gf": "regnet",
    "regnet_x_8gf": "regnet",
    "regnet_x_16gf": "regnet",
    "regnet_x_32gf": "regnet",
    "convnext_tiny": "convnext",
    "convnext_small": "convnext",
    "convnext_base": "convnext",
    "convnext_large": "convnext",
    "densenet121": "densenet",
    "densenet161": "densenet",
    "densenet169": "densenet",
    "densenet201": "densenet",
}

# Family -> one sentence on it.
FAMILIES: dict[str, str] = {
    "alexnet": "AlexNet (Krizhevsky et al. 2012); a block is a convolution with its activation, or a pooling.",
    "vgg": "VGG (Simonyan and Zisserman 2015); a block is a convolution with its activation, or a pooling.",
    "resnet": "ResNet and ResNeXt (He et al. 2016, Xie et al. 2017); a block is a residual block. Takes stem: small.",
    "efficientnet": "EfficientNet (Tan and Le 2019, 2021); a block is an inverted residual.",
    "mobilenet_v2": "MobileNetV2 (Sandler et al. 2018); a block is an inverted residual.",
    "mobilenet_v3": "MobileNetV3 (Howard et al. 2019); a block is an inverted residual.",
    "regnet": "RegNetY and RegNetX (Radosavovic et al. 2020); a block is a residual block.",
    "convnext": "ConvNeXt (Liu et al. 2022); a block is a ConvNeXt block, or a downsampling.",
    "densenet": "DenseNet (Huang et al. 2017); a block is a dense layer with all that it adds to, or a transition.",
}


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone that a config can name.

    Attributes:
        name: as a config names it.
        family: how it is cut.
        description: one sentence on its family.
    """

    name: str
    family: str
    description: str


ANY_TIMM = BackboneInfo(
    "timm/NAME",
    "timm",
    "Any network of timm's families ResNet, EfficientNet, MobileNet (V2 to V4), RegNet, ConvNeXt, ViT and DeiT; needs "
    "the extra timm.",
)


def describe_backbones() -> tuple[BackboneInfo, ...]:
    """Lists torchvision's backbones."""
    return tuple(BackboneInfo(name, family, FAMILIES[family]) for name, family in BACKBONE_FAMILIES.items())
