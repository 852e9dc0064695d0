"""Networks: what there is to choose from, making them, training them, and loading what was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.cost.flops import count_costs
from greenedge.cost.table import NetworkCost
from greenedge.errors import ConfigError
from greenedge.exits.confidence import CRITERIA
from greenedge.inference.manifest import is_export
from greenedge.models.backbones import BACKBONES
from greenedge.models.blocks import describe_blocks
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.models.multi_exit import MultiExitNetwork, build_network
from greenedge.models.weights import load_pretrained
from greenedge.training.run_files import checkpoint_path
from greenedge.training.trained import TrainedModel
from greenedge.workflows.models import open_model
from greenedge.workflows.train import TrainOutcome
from greenedge.workflows.train import train as run_training

Exit = str | tuple[str, str] | Mapping[str, Any]


def list_models() -> list[str]:
    """Names of the torchvision backbones; `timm/NAME` works for many of timm's besides."""
    return sorted(BACKBONES)


def list_heads() -> list[str]:
    """Names of the exit heads."""
    return sorted(EXIT_HEADS)


def list_criteria() -> list[str]:
    """Names of the criteria that thresholds are compared with; `tune` knows besides them `gain`, which it learns."""
    return list(CRITERIA)


def list_blocks(backbone: str) -> list[str]:
    """Names of the blocks of a backbone, in order, after each of which an exit can be attached.

    Raises:
        ConfigError: there is no such backbone.
    """
    return [block.name for block in describe_blocks(backbone, image_size=224)]


def create_model(
    backbone: str,
    exits: Sequence[Exit] = (),
    *,
    num_classes: int = 1000,
    image_size: int = 224,
    pretrained: bool | str | Path = False,
    stem: Literal["imagenet", "small"] = "imagenet",
    stochastic_depth: float | None = None,
) -> MultiExitNetwork:
    """Creates a network with exits.

    >>> network = create_model("resnet18", ["layer1", ("layer3", "linear")], num_classes=10, image_size=64)
    >>> early, later, final = network(torch.zeros(2, 3, 64, 64))
    >>> early.shape
    torch.Size([2, 10])

    Args:
        backbone: a name of `list_models`, or `timm/NAME`.
        exits: first to last: the block (or stage) an exit comes after, with its head where that is not `light`; or a
            mapping as in a config, `{"after": "layer1", "head": {"light": {"width": 64}}}`.
        num_classes: outputs of every exit.
        image_size: pixels per side of the images, which decide the shapes of the heads.
        pretrained: True for ImageNet weights of the backbone, or a file of weights.
        stem: `small` for a first convolution without stride and pooling, where the backbone has one.
        stochastic_depth: rate at which training skips the last residual branches; None: the library's.

    Raises:
        ConfigError: an unknown backbone, block, head or option, a backbone without stochastic depth, or images too
            small for it.
        CheckpointError: the weights do not fit.
    """
    weights = None if pretrained is False else "imagenet" if pretrained is True else str(pretrained)
    chosen = tuple(_exit_config(exit) for exit in exits)
    config = ModelConfig(backbone, weights, stem, chosen, stochastic_depth=stochastic_depth)
    network = build_network(config, num_classes, image_size)
    if weights is not None:
        load_pretrained(network, config, weights)
    return network


def _exit_config(exit: Exit) -> ExitConfig:
    if isinstance(exit, str):
        return ExitConfig(exit)
    if isinstance(exit, tuple):
        after, head = exit
        return ExitConfig(after, Component(head))
    unknown = set(exit) - {"after", "head", "former_logits"}
    if "after" not in exit or unknown:
        raise ConfigError(f"an exit is {{'after': block, 'head': head}}, found {dict(exit)}")
    head, former_logits = exit.get("head", "light"), exit.get("former_logits", False)
    if isinstance(head, str):
        return ExitConfig(exit["after"], Component(head), former_logits)
    ((name, options),) = head.items()
    return ExitConfig(exit["after"], Component(name, options), former_logits)


def train(
    config: str | Path, overrides: Sequence[str] = (), *, out: str | Path | None = None, resume: bool = False
) -> TrainOutcome:
    """Trains a config into a run directory, as `greenedge train` does.

    Args:
        config: a YAML file, or the name of a config that ships.
        overrides: texts like `train.epochs=3`.
        out: the run directory; None: `runs/` and the config's name.
        resume: continue the run in the run directory.

    Raises:
        GreenedgeError: the config, the data or the run directory cannot be used.
    """
    return run_training(Path(config), overrides, None if out is None else Path(out), resume=resume)


def load_checkpoint(path: str | Path) -> TrainedModel:
    """Loads a trained network with its config, classes and costs; the network itself is made when first asked for.

    Args:
        path: a run directory, or a checkpoint in it; or the folder of an ONNX export, which `Engine` runs in ONNX
            Runtime and which has no PyTorch network.

    Raises:
        CheckpointError: it is missing or invalid.
        DataError: the export is damaged, or of another version.
    """
    path = Path(path)
    return open_model(path if is_export(path) else checkpoint_path(path))


def count_flops(model: TrainedModel | MultiExitNetwork) -> NetworkCost:
    """GFLOPs and parameters of every exit; one multiply-add is 1, as fvcore counts."""
    return model.cost if isinstance(model, TrainedModel) else count_costs(model)
