"""The weights that a training starts from, as its config names them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from greenedge.config import ExitConfig, RunConfig
from greenedge.config.origins import with_location
from greenedge.data.layouts import ClassInfo
from greenedge.errors import ConfigError
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.weights import load_pretrained
from greenedge.training.checkpoint import is_checkpoint
from greenedge.training.run_files import checkpoint_path
from greenedge.training.trained import TrainedModel, load_model

_log = logging.getLogger("greenedge")


def load_weights(network: MultiExitNetwork, config: RunConfig, classes: Sequence[ClassInfo]) -> None:
    """Loads `model.weights` into a new network, if the config names any, and logs what became of them.

    From a checkpoint of greenedge, or a run directory, come the exit heads too: those after the same block, of the
    same kind and the same shapes.

    Args:
        network: receives the weights.
        config: what it was built from.
        classes: of the data set.

    Raises:
        ConfigError, CheckpointError: as `load_pretrained`.
    """
    weights = config.model.weights
    if weights is None:
        return
    path = checkpoint_path(Path(weights))
    if weights != "imagenet":
        weights = str(path)
    with with_location(config, "model"):
        is_ours = weights != "imagenet" and path.is_file() and is_checkpoint(path)
        source = load_model(path) if is_ours else None
        if source is not None and source.members:
            message = f"{weights}: is a cascade; name one of the runs that it was made of"
            raise ConfigError(message, key="weights")
        report = load_pretrained(network, config.model, weights, [each.id for each in classes])
        if config.train.kept_features is not None and report.reinitialised:
            raise ConfigError(
                f"nothing in it fits {report.reinitialised[0]}, which train.kept_features would leave "
                "random; name a network trained for these classes, or train without train.kept_features",
                key="weights",
            )
        if source is None:
            _log.info("%s: %s", weights, report.sentence())
            return
        loaded = _load_heads(network, config.model.exits, source)
    heads = f"heads of exits {', '.join(loaded)} loaded" if loaded else "all heads are new"
    _log.info("%s: %d tensors of the backbone loaded; %s", weights, report.loaded, heads)


def _load_heads(network: MultiExitNetwork, exits: Sequence[ExitConfig], model: TrainedModel) -> list[str]:
    """Loads the heads that fit from a trained network and tells after which blocks they are."""
    theirs = list(model.config.model.exits)
    loaded = []
    for exit, head in zip(exits, network.heads, strict=True):
        if exit not in theirs:
            continue
        prefix = f"heads.{theirs.index(exit)}."
        state = {
            name[len(prefix) :]: each for name, each in model.checkpoint.tensors.items() if name.startswith(prefix)
        }
        own = head.state_dict()
        if own.keys() == state.keys() and all(own[name].shape == state[name].shape for name in own):
            head.load_state_dict(state)
            loaded.append(exit.after)
    return loaded
