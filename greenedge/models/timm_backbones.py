"""Networks of timm, an optional extra, cut into named blocks, family by family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from greenedge.config.convert import did_you_mean
from greenedge.errors import CheckpointError, ConfigError, InstallationError
from greenedge.models.family import Blocks, Family
from greenedge.models.timm_tokens import TokenClassifier, TokenMap, adapt_token_weights, check_tokens, token_blocks

TIMM = "timm/"


def _resnet_blocks(net: nn.Module) -> Blocks:
    stem = nn.Sequential(*(net.get_submodule(name) for name in ("conv1", "bn1", "act1", "maxpool")))
    stages = [(name, net.get_submodule(name)) for name in ("layer1", "layer2", "layer3", "layer4")]
    blocks = [(f"{name}.{number}", block) for name, stage in stages for number, block in stage.named_children()]
    return [("stem", stem), *blocks]


def _efficientnet_blocks(net: nn.Module) -> Blocks:
    head = nn.Sequential(net.get_submodule("conv_head"), net.get_submodule("bn2"))
    return [*_mobilenet_blocks(net), ("head", head)]


def _mobilenet_blocks(net: nn.Module) -> Blocks:
    """The stem and the inverted residuals; what comes after them works on pooled features."""
    stem = nn.Sequential(net.get_submodule("conv_stem"), net.get_submodule("bn1"))
    stages = net.get_submodule("blocks").named_children()
    blocks = [(f"blocks.{stage}.{name}", block) for stage, parts in stages for name, block in parts.named_children()]
    return [("stem", stem), *blocks]


def _regnet_blocks(net: nn.Module) -> Blocks:
    stages = [(name, stage) for name, stage in net.named_children() if name[0] == "s" and name[1:].isdecimal()]
    blocks = [(f"{name}.{part}", block) for name, stage in stages for part, block in stage.named_children()]
    return [("stem", net.get_submodule("stem")), *blocks]


def _convnext_blocks(net: nn.Module) -> Blocks:
    """A stage is its downsampling, but for the first one, and its blocks."""
    blocks: Blocks = [("stem", net.get_submodule("stem"))]
    for number, stage in net.get_submodule("stages").named_children():
        name, downsample = f"stages.{number}", stage.get_submodule("downsample")
        if not isinstance(downsample, nn.Identity):
            blocks.append((f"{name}.downsample", downsample))
        blocks += [(f"{name}.blocks.{part}", block) for part, block in stage.get_submodule("blocks").named_children()]
    return blocks


def _classifier_of(*parts: str) -> Callable[[nn.Module], nn.Module]:
    """What `forward_head` runs, without the dropout, whose rate is 0 in the networks that are made here."""
    return lambda net: nn.Sequential(*map(net.get_submodule, parts))


def _create(backbone: str, num_classes: int, _image_size: int, **options: float) -> nn.Module:
    name = backbone.removeprefix(TIMM)
    network: nn.Module = _timm().create_model(name, pretrained=False, num_classes=num_classes, **options)
    return network


def _create_tokens(backbone: str, num_classes: int, image_size: int, **options: float) -> nn.Module:
    timm, name = _timm(), backbone.removeprefix(TIMM)
    with torch.device("meta"):  # without numbers at first, since not every kind of network takes the size
        check_tokens(backbone, timm.create_model(name, pretrained=False, num_classes=num_classes), image_size)
    network: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=num_classes, img_size=image_size, dynamic_img_size=False, **options
    )
    return network


_DROP_PATH = "drop_path_rate"
_VIT = Family(
    _create_tokens,
    token_blocks,
    TokenClassifier,
    "head",
    head_input=TokenMap,
    adapt_weights=adapt_token_weights,
    stochastic_depth=_DROP_PATH,
)
_MOBILENET_END = ("global_pool", "conv_head", "norm_head", "act2", "flatten", "classifier")


def _family(blocks: Callable[[nn.Module], Blocks], classifier: tuple[str, ...], classifier_name: str) -> Family:
    return Family(_create, blocks, _classifier_of(*classifier), classifier_name, stochastic_depth=_DROP_PATH)


# By timm's own modules.
TIMM_FAMILIES: dict[str, Family] = {
    "resnet": _family(_resnet_blocks, ("global_pool", "fc"), "fc"),
    "efficientnet": _family(_efficientnet_blocks, ("global_pool", "classifier"), "classifier"),
    "mobilenetv3": _family(_mobilenet_blocks, _MOBILENET_END, "classifier"),  # V4 too
    "regnet": _family(_regnet_blocks, ("final_conv", "head"), "head.fc"),
    "convnext": _family(_convnext_blocks, ("norm_pre", "head"), "head.fc"),
    "vision_transformer": _VIT,
    "deit": _VIT,
}


def find_timm_family(backbone: str) -> Family:
    """The family of `timm/NAME`.

    Raises:
        InstallationError: timm is not installed.
        ConfigError: timm has no such network, or one of a family that is not cut.
    """
    timm, name = _timm(), backbone.removeprefix(TIMM)
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models()) or "timm.list_models() has them all"
        raise ConfigError(f"timm has no {name!r}; {hint}", key="backbone")
    own = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    if own not in TIMM_FAMILIES:
        raise ConfigError(
            f"{name!r} is of timm's family {own}, which greenedge does not cut into blocks; it cuts "
            f"{', '.join(TIMM_FAMILIES)}",
            key="backbone",
        )
    return TIMM_FAMILIES[own]


def pretrained_timm(backbone: str) -> dict[str, Tensor]:
    """The state dict of timm's pre-trained network, from its cache or the hub.

    Raises:
        CheckpointError: it is not available.
    """
    try:
        network: nn.Module = _timm().create_model(backbone.removeprefix(TIMM), pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"timm's weights of {backbone} could not be had ({reason}); fetch them elsewhere and name the file as "
            "model.weights"
        ) from None
    return dict(network.state_dict())


def timm_normalisation(backbone: str) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """(mean, std) of each channel that timm's pre-trained network expects; None where timm has no weights for it."""
    found = _timm().get_pretrained_cfg(backbone.removeprefix(TIMM))
    if found is None or not found.has_weights:
        return None
    (red, green, blue), (red_std, green_std, blue_std) = found.mean, found.std
    return (float(red), float(green), float(blue)), (float(red_std), float(green_std), float(blue_std))


def imagenet_rows(class_ids: list[str]) -> torch.Tensor:
    """int64 (N,): where each class, a wnid, stands among the 1,000 of ImageNet-1k.

    Raises:
        InstallationError: timm, which knows the order, is not installed.
        ConfigError: a class is none of them.
    """
    wnids = _timm().data.ImageNetInfo("imagenet-1k").label_names()
    order = {wnid: row for row, wnid in enumerate(wnids)}
    foreign = [wnid for wnid in class_ids if wnid not in order]
    if foreign:
        raise ConfigError(f"the class {foreign[0]!r} is none of ImageNet-1k's; use new", key="classifier")
    return torch.tensor([order[wnid] for wnid in class_ids])


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise InstallationError(
            "networks of timm (backbone timm/NAME, classifier: imagenet) need timm, which is not installed; "
            "pip install 'greenedge[timm]'"
        ) from None
    return timm
