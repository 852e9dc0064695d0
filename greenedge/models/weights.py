"""Weights that were trained elsewhere: torchvision's, or a file's."""

from __future__ import annotations

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
from greenedge.data.pickle_machine import PickleError
from greenedge.errors import CheckpointError, ConfigError
from greenedge.models.backbones import find_family
from greenedge.models.installed import torchvision
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.timm_backbones import TIMM, imagenet_rows, pretrained_timm, timm_normalisation
from greenedge.models.torch_files import read_torch_file
from greenedge.models.weight_names import COUNTER, PROFILERS, Unwrapped, taken_by_order, unwrap

# What safetensors raises on files that are damaged or something else.
_READING_ERRORS = (
    *(safetensors.SafetensorError, OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError),
    *(AttributeError, MemoryError),
)

_IMAGENET_CLASSES = 1000
_TRUNCATED = "is truncated or not a file of tensors"
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
)  # where files keep the network itself

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]


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
        ConfigError: the rows of an ImageNet classifier are asked for and not available.
        CheckpointError: the weights are not available, cannot be read safely, or belong to another network.
    """
    backbone, net = config.backbone, network.backbone
    state = _imagenet_state(backbone) if weights == "imagenet" else read_state_dict(Path(weights))
    source = f"the ImageNet weights of {backbone}" if weights == "imagenet" else weights

    family = find_family(backbone)
    replaceable = (family.classifier_name, "conv1") if config.stem == "small" else (family.classifier_name,)
    own = net.state_dict()
    optional = [name for name in own if _module(name) in replaceable]
    try:
        unwrapped = unwrap(state, own, optional)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None
    by_order = None
    if 2 * unwrapped.found < len(own) and not weights.endswith(".safetensors"):  # those keep no order
        by_order = taken_by_order(state, own, family.classifier_name)
    if by_order is not None:
        unwrapped = Unwrapped(by_order, "", (), len(by_order))

    tensors = unwrapped.tensors
    if family.adapt_weights is not None:
        tensors = family.adapt_weights(tensors, net)
    if config.classifier == "imagenet":
        tensors = _with_imagenet_rows(tensors, family.classifier_name, class_ids, source)
    report = _load_backbone(net, tensors, replaceable, source)
    return replace(report, unused=report.unused + unwrapped.others, by_order=by_order is not None)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads tensors by name from `.safetensors`, or from a `.pth`/`.pt` file without running any of its code.

    Raises:
        CheckpointError: no such file, truncated, or not a plain state dict.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of weights")
    groups = _groups(load_tensors(path), ())
    if not groups:
        raise CheckpointError(f"{path}: is not a state dict (tensors by name); save model.state_dict() instead")
    state = _network_of(path, groups)
    for name, tensor in state.items():
        if not is_finite(tensor):
            raise CheckpointError(f"{path}: holds numbers that are not finite, in {name} first; the network is broken")
    return state


def load_tensors(path: Path) -> Any:
    """What a file of tensors holds, read without running any code that it may carry.

    Raises:
        CheckpointError: truncated, larger inside than outside, or not only tensors, numbers and texts.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if path.suffix == ".safetensors" or start[8:] == b"{":
            return safetensors.torch.load_file(path)
        return read_torch_file(path)
    except PickleError as error:
        if str(error).startswith("names"):
            raise CheckpointError(
                f"{path}: is not a file of tensors, or holds more than tensors, and greenedge runs no code from files"
            ) from None
        reason = str(error) if "expands" in str(error) or "another" in str(error) else _TRUNCATED
        raise CheckpointError(f"{path}: cannot be read; it {reason}") from None
    except _READING_ERRORS:
        raise CheckpointError(f"{path}: cannot be read; it {_TRUNCATED}") from None


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are finite, also in float32, in which networks compute."""
    if not tensor.is_floating_point():
        return True
    return bool(tensor.to(torch.float32).isfinite().all())


def pretrained_normalisation(backbone: str, weights: str | None) -> Normalisation | None:
    """Mean and standard deviation of each channel (R, G, B), pixels in [0, 1], that pre-trained weights expect.

    Args:
        backbone: a name in `BACKBONES`, or `timm/` and one of timm's.
        weights: as in a config; only `imagenet` says how it wants its pixels.

    Returns:
        (mean, std) from the weights' own metadata, which torchvision and timm carry with them; None for files and for
        random weights.

    Raises:
        ConfigError: there is no such backbone.
        InstallationError: timm is not installed.
    """
    if weights != "imagenet":
        return None
    find_family(backbone)
    if backbone.startswith(TIMM):
        return timm_normalisation(backbone)
    transform = _published(backbone).transforms()
    return _three(transform.mean), _three(transform.std)


def _three(numbers: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, numbers)
    return red, green, blue


def _groups(value: Any, path: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, Tensor]]:
    """The sets of named tensors in what a file holds, each by the keys that lead to it."""
    if not isinstance(value, Mapping) or len(path) > 3 or not all(isinstance(name, str) for name in value):
        return {}
    tensors = {name: each for name, each in value.items() if isinstance(each, Tensor)}
    found = {path: tensors} if tensors else {}
    for name, each in value.items():
        found |= _groups(each, (*path, name))
    return found


def _network_of(path: Path, groups: Mapping[tuple[str, ...], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The network's among several sets of tensors: that of a usual name, or the one that is by far the largest."""
    for wrapper in _WRAPPERS:
        inside = {keys: group for keys, group in groups.items() if keys[:1] == (wrapper,)}
        if inside:
            groups = inside
            break
    *others, largest = sorted(groups, key=lambda keys: len(groups[keys]))
    if others and len(groups[largest]) < 4 * len(groups[others[-1]]):
        names = " and ".join(".".join(keys) or "its top level" for keys in (others[-1], largest))
        raise CheckpointError(f"{path}: holds several sets of tensors, as in {names}; save the network's alone")
    return groups[largest]


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _with_imagenet_rows(
    state: dict[str, Tensor], classifier_name: str, class_ids: Sequence[str], source: str
) -> dict[str, Tensor]:
    names = [f"{classifier_name}.{part}" for part in ("weight", "bias")]
    if any(name not in state or len(state[name]) != _IMAGENET_CLASSES for name in names):
        raise CheckpointError(f"{source}: has no classifier of {_IMAGENET_CLASSES} classes; use model.classifier: new")
    rows = imagenet_rows(list(class_ids))
    return {name: tensor[rows] if name in names else tensor for name, tensor in state.items()}


def _published(backbone: str) -> Any:
    if backbone not in torchvision.models.list_models():
        message = f"torchvision has no weights of {backbone}, which is a plugin's; name a file, or leave it null"
        raise ConfigError(message, key="weights")
    return torchvision.models.get_model_weights(backbone).DEFAULT


def _imagenet_state(backbone: str) -> dict[str, Tensor]:
    if backbone.startswith(TIMM):
        return pretrained_timm(backbone)
    weights = _published(backbone)
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
    fitting = {name: tensor for name, tensor in state.items() if name in own and _fits(own[name], tensor)}
    random = tuple(name for name in own if name not in fitting and not name.endswith(COUNTER))
    misfits = [name for name in random if _module(name) not in replaceable]
    # Deeper networks of a family hold all that a shallower one needs: what is left over in its own parts tells.
    parts = {name.partition(".")[0] for name in own} - {name.partition(".")[0] for name in replaceable}
    unused = tuple(name for name in state if name not in own)
    misfits += [name for name in unused if name.partition(".")[0] in parts and not name.endswith(PROFILERS)]
    if misfits:
        raise CheckpointError(
            f"{source}: belongs to another network: {len(misfits)} tensors do not fit, {misfits[0]} first"
        )
    backbone.load_state_dict(fitting, strict=False)
    return WeightReport(len(fitting), random, unused)


def _fits(own: Tensor, tensor: Tensor) -> bool:
    return own.shape == tensor.shape and own.is_floating_point() == tensor.is_floating_point()
