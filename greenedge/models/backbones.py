"""Known networks, torchvision's and timm's own, cut into named blocks.

A cut is a list of (name, module) in the order of execution, without the classifier. Blocks refer to the modules of
the original network and hold nothing of their own, so state-dict names and results stay the library's.
"""

from __future__ import annotations

from torch import nn

from greenedge.config.convert import did_you_mean
from greenedge.errors import ConfigError
from greenedge.models.catalog import BACKBONE_FAMILIES
from greenedge.models.family import Family
from greenedge.models.timm_backbones import TIMM, find_timm_family
from greenedge.models.torchvision_backbones import TORCHVISION_FAMILIES

BACKBONES: dict[str, Family] = {name: TORCHVISION_FAMILIES[family] for name, family in BACKBONE_FAMILIES.items()}


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


def build_backbone(
    backbone: str,
    num_classes: int,
    stem: str = "imagenet",
    image_size: int = 224,
    stochastic_depth: float | None = None,
) -> nn.Module:
    """The network, randomly initialised as its library does.

    Args:
        backbone: a name in `BACKBONES`, or `timm/` and one of timm's.
        num_classes: outputs of the classifier.
        stem: `imagenet`, or `small` for a 3x3 stride-1 convolution without pooling (ResNet family).
        image_size: pixels per side of the images, which networks of tokens are made for.
        stochastic_depth: rate at which the last residual branches are skipped in training, those before at lower ones;
            None: the library's.

    Raises:
        ConfigError: there is no such backbone, it has no small stem or no stochastic depth, the rate is none, or it
            does not take images of that size.
    """
    family, options = find_family(backbone), {}
    if stochastic_depth is not None:
        if family.stochastic_depth is None:
            raise ConfigError(f"{backbone} is built without stochastic depth; leave it out", key="stochastic_depth")
        if not 0 <= stochastic_depth < 1:
            message = f"expected a rate from 0 to below 1, found {stochastic_depth}"
            raise ConfigError(message, key="stochastic_depth")
        options = {family.stochastic_depth: stochastic_depth}
    net = family.create(backbone, num_classes, image_size, **options)
    if stem == "small":
        if family.small_stem is None:
            raise ConfigError(f"{backbone} has no small stem; only the ResNet family has", key="stem")
        family.small_stem(net)
    return net
