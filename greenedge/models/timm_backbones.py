"""Networks of timm, an optional extra, cut into named blocks: its ResNet and EfficientNet families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from greenedge.config.convert import did_you_mean
from greenedge.errors import CheckpointError, ConfigError, InstallationError
from greenedge.models.family import Blocks, Family

TIMM = "timm/"


def _resnet_blocks(net: nn.Module) -> Blocks:
    stem = nn.Sequential(*(net.get_submodule(name) for name in ("conv1", "bn1", "act1", "maxpool")))
    stages = [(name, net.get_submodule(name)) for name in ("layer1", "layer2", "layer3", "layer4")]
    blocks = [(f"{name}.{number}", block) for name, stage in stages for number, block in stage.named_children()]
    return [("stem", stem), *blocks]


def _efficientnet_blocks(net: nn.Module) -> Blocks:
    stem = nn.Sequential(net.get_submodule("conv_stem"), net.get_submodule("bn1"))
    head = nn.Sequential(net.get_submodule("conv_head"), net.get_submodule("bn2"))
    stages = net.get_submodule("blocks").named_children()
    blocks = [(f"blocks.{stage}.{name}", block) for stage, parts in stages for name, block in parts.named_children()]
    return [("stem", stem), *blocks, ("head", head)]


def _classifier_of(linear: str) -> Callable[[nn.Module], nn.Module]:
    """What `forward_head` runs, without the dropout, whose rate is 0 in the networks that `create_timm` makes."""
    return lambda net: nn.Sequential(net.get_submodule("global_pool"), net.get_submodule(linear))


# By timm's own modules.
TIMM_FAMILIES: dict[str, Family] = {
    "resnet": Family(_resnet_blocks, _classifier_of("fc"), "fc"),
    "efficientnet": Family(_efficientnet_blocks, _classifier_of("classifier"), "classifier"),
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
    for module, family in TIMM_FAMILIES.items():
        if timm.models.is_model_in_modules(name, [module]):
            return family
    raise ConfigError(f"{name!r} is of none of timm's families {', '.join(TIMM_FAMILIES)}", key="backbone")


def create_timm(backbone: str, num_classes: int) -> nn.Module:
    """Timm's network, randomly initialised."""
    network: nn.Module = _timm().create_model(backbone.removeprefix(TIMM), pretrained=False, num_classes=num_classes)
    return network


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
