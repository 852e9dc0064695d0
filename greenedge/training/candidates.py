"""A trained backbone with an exit after every block but the last: the places that exits could have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from greenedge.config import Component, ExitConfig, RunConfig
from greenedge.config.schema import TrainConfig
from greenedge.errors import CheckpointError, ConfigError
from greenedge.models.backbones import build_backbone, find_family
from greenedge.models.multi_exit import MultiExitNetwork, build_network
from greenedge.training.checkpoint import load_into
from greenedge.training.trained import TrainedModel

_EPOCHS, _LEARNING_RATE = 8, 0.003  # of heads alone


def candidate_network(model: TrainedModel, head: str) -> MultiExitNetwork:
    """Builds the network with an exit after every block but the last, and the trained weights of its backbone.

    Args:
        model: its own exits are left out.
        head: a name in `EXIT_HEADS`, of all exits; their weights are random.

    Raises:
        ConfigError: there is no such head.
        CheckpointError: the weights do not fit the config.
    """
    section, classes = model.config.model, len(model.classes)
    size = model.config.data.input_size
    blocks = find_family(section.backbone).blocks(build_backbone(section.backbone, classes, section.stem, size))
    exits = tuple(ExitConfig(name, Component(head, key="--head")) for name, _ in blocks[:-1])
    try:
        network = build_network(dataclasses.replace(section, exits=exits), classes, size)
    except ConfigError as error:
        if error.key is not None and error.key.startswith("--head"):
            raise
        raise CheckpointError(f"{model.path}: its config does not fit this version of greenedge ({error})") from None
    prefix = "backbone."
    tensors = {
        name.removeprefix(prefix): each for name, each in model.checkpoint.tensors.items() if name.startswith(prefix)
    }
    load_into(network.backbone, tensors, model.path)
    return network.eval()


def heads_config(model: TrainedModel, weights: Path, data: Path, blocks: Sequence[str], head: str) -> RunConfig:
    """The config by which heads after some blocks are trained on a trained backbone's kept features.

    It is the run's own but for what concerns the heads: they learn from the labels and from the final exit.

    Args:
        model: whose backbone it is.
        weights: the run or checkpoint that it starts from.
        data: the prepared data set.
        blocks: that exits come after, first to last.
        head: of all exits.
    """
    own = model.config
    section = dataclasses.replace(
        own.model,
        weights=str(weights),
        exits=tuple(ExitConfig(block, Component(head)) for block in blocks),
        classifier="new",  # comes with the weights
    )
    train = TrainConfig(
        epochs=_EPOCHS,
        batch_size=own.train.batch_size,
        optimizer=Component("adamw", {"lr": _LEARNING_RATE}),
        schedule=Component("one_cycle", {"max_lr": _LEARNING_RATE}),
        loss=own.train.loss,
        objective=Component("self_distillation"),
        class_weights=own.train.class_weights,
        kept_features=1,
        keep_state=False,
        seed=own.train.seed,
    )
    path = dataclasses.replace(own.data, path=str(data))
    return dataclasses.replace(own, data=path, model=section, train=train, augment=(), origins={})
