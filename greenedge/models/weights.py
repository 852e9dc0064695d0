"""Weights that were trained elsewhere: torchvision's, or a file's."""

from __future__ import annotations

import pickle
import struct
import urllib.error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from greenedge.config import ModelConfig
from greenedge.errors import CheckpointError
from greenedge.models.backbones import find_family
from greenedge.models.installed import torchvision
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.timm_backbones import TIMM, imagenet_rows, pretrained_timm

# What torch and safetensors raise on files that are damaged or something else.
_READING_ERRORS = (
    *(safetensors.SafetensorError, OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError),
    *(AttributeError, struct.error),
)

_IMAGENET_CLASSES = 1000
_OWN_PREFIX = "backbone."


@dataclass(frozen=True)
class WeightReport:
    """What became of a file's tensors.

    Attributes:
        loaded: how many tensors were taken.
        reinitialised: names in the backbone that keep their random values, because shapes differ or nothing fits.
        unused: names in the file that match nothing.
        by_order: whether all names were strange and the tensors were taken by their order.
    """

    loaded: int
    reinitialised: tuple[str, ...]
    unused: tuple[str, ...]
    by_order: bool = False

    def sentence(self) -> str:
        """For the user."""
        parts = [
            f"{self.loaded} tensors loaded" + (" by their order, as all names are strange" if self.by_order else "")
        ]
        if self.reinitialised:
            parts.append(f"kept random: {', '.join(self.reinitialised)}")
        if self.unused:
            parts.append(f"in the file but unused: {', '.join(self.unused)}")
        return "; ".join(parts)


def load_pretrained(
    network: MultiExitNetwork, config: ModelConfig, weights: str, class_ids: Sequence[str] = ()
) -> WeightReport:
    """Loads pre-trained weights into the network's backbone.

    The classifier, where the number of classes differs, and a small stem keep their random values.

    Args:
        network: receives them.
        config: what it was built from.
        weights: `imagenet` for torchvision's best ImageNet-1k weights, or timm's, or the path of a state dict. A file
            whose names are all strange is taken by the order of its tensors where all their shapes fit.
        class_ids: of the data set, in order; needed for the rows of an ImageNet classifier.

    Raises:
        ConfigError: the rows of an ImageNet classifier are asked for and cannot be had.
        CheckpointError: the weights cannot be had, cannot be read safely, or belong to another network.
    """
    backbone = config.backbone
    state = _imagenet_state(backbone) if weights == "imagenet" else read_state_dict(Path(weights))
    source = f"the ImageNet weights of {backbone}" if weights == "imagenet" else weights
    heads: tuple[str, ...] = ()
    if any(name.startswith(_OWN_PREFIX) for name in state):  # a checkpoint of greenedge's own
        heads = tuple(name for name in state if not name.startswith(_OWN_PREFIX))
        state = {n.removeprefix(_OWN_PREFIX): t for n, t in state.items() if n.startswith(_OWN_PREFIX)}
    family = find_family(backbone)
    renamed = _renamed_by_order(network.backbone, state, family.classifier_name)
    state = state if renamed is None else renamed
    if config.classifier == "imagenet":
        state = _with_imagenet_rows(state, family.classifier_name, class_ids, source)
    replaceable = (family.classifier_name, "conv1") if config.stem == "small" else (family.classifier_name,)
    report = _load_backbone(network.backbone, state, replaceable, source)
    return replace(report, unused=report.unused + heads, by_order=renamed is not None)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads tensors by name from `.safetensors`, or from a `.pth`/`.pt` file without running any of its code.

    Raises:
        CheckpointError: no such file, truncated, or not a plain state dict.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of weights")
    state = load_tensors(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: is not a state dict (tensors by name); save model.state_dict() instead")
    return {str(name): value for name, value in state.items()}


def load_tensors(path: Path) -> Any:
    """What a file of tensors holds, read without running any code that it may carry.

    Raises:
        CheckpointError: truncated, or not only tensors, numbers and texts.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: is not a file of tensors, or holds more than tensors, and greenedge runs no code from files"
        ) from None
    except _READING_ERRORS:
        raise CheckpointError(f"{path}: cannot be read; it is truncated or not a file of tensors") from None


def _renamed_by_order(backbone: nn.Module, state: dict[str, Tensor], classifier_name: str) -> dict[str, Tensor] | None:
    """The tensors under the backbone's own names, where all names are strange and their order and shapes fit."""
    own = backbone.state_dict()
    if len(own) != len(state) or any(name in own for name in state):
        return None
    for (name, ours), theirs in zip(own.items(), state.values(), strict=True):
        if ours.shape != theirs.shape and not name.startswith(f"{classifier_name}."):
            return None
    return dict(zip(own, state.values(), strict=True))


def _with_imagenet_rows(
    state: dict[str, Tensor], classifier_name: str, class_ids: Sequence[str], source: str
) -> dict[str, Tensor]:
    names = [f"{classifier_name}.{part}" for part in ("weight", "bias")]
    if any(name not in state or len(state[name]) != _IMAGENET_CLASSES for name in names):
        raise CheckpointError(f"{source}: has no classifier of {_IMAGENET_CLASSES} classes; use model.classifier: new")
    rows = imagenet_rows(list(class_ids))
    return {name: tensor[rows] if name in names else tensor for name, tensor in state.items()}


def _imagenet_state(backbone: str) -> dict[str, Tensor]:
    if backbone.startswith(TIMM):
        return pretrained_timm(backbone)
    weights = torchvision.models.get_model_weights(backbone).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = path.stem.rpartition("-")[2]  # torchvision ends the name with the start of the SHA-256
            torch.hub.download_url_to_file(weights.url, str(path), digest)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise CheckpointError(
                f"torchvision's weights of {backbone} could not be downloaded ({error}); fetch {weights.url} elsewhere "
                f"and put it into {path.parent}"
            ) from None
    return read_state_dict(path)


def _load_backbone(
    backbone: nn.Module, state: Mapping[str, Tensor], replaceable: Sequence[str], source: str
) -> WeightReport:
    """Loads all that fits; only the modules named `replaceable` may stay random."""
    own = backbone.state_dict()
    fitting = {name: t for name, t in state.items() if name in own and own[name].shape == t.shape}
    random = tuple(name for name in own if name not in fitting and not name.endswith("num_batches_tracked"))
    misfits = [name for name in random if name.rpartition(".")[0] not in replaceable]
    # Deeper networks of a family hold all that a shallower one needs: what is left over in its own parts tells.
    parts = {name.partition(".")[0] for name in own} - {name.partition(".")[0] for name in replaceable}
    unused = tuple(name for name in state if name not in own)
    misfits += [name for name in unused if name.partition(".")[0] in parts]
    if misfits:
        raise CheckpointError(
            f"{source}: belongs to another network: {len(misfits)} tensors do not fit, {misfits[0]} first"
        )
    backbone.load_state_dict(fitting, strict=False)
    return WeightReport(len(fitting), random, unused)
