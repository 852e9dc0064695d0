"""The weights that a training starts from, as its config names them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

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
    theirs = [(each.after, each.head) for each in model.config.model.exits]
    loaded: list[str] = []
    former: int | None = None  # which of theirs the exit before has its weights from
    for index, (exit, head) in enumerate(zip(exits, network.heads, strict=True)):
        place = theirs.index((exit.after, exit.head)) if (exit.after, exit.head) in theirs else None
        before, former = former, None
        if place is None:
            continue
        pairs = [(head, f"heads.{place}.")]
        if model.config.model.exits[place].former_logits:
            # It was made to see the exit that came before it there, and says little beside another or none.
            if not exit.former_logits or before != place - 1:
                continue
            pairs.append((network.formers[str(index)], f"formers.{place}."))
        if _load_fitting(pairs, model.checkpoint.tensors):
            loaded.append(exit.after)
            former = place
    return loaded


def _load_fitting(pairs: Sequence[tuple[nn.Module, str]], tensors: Mapping[str, Tensor]) -> bool:
    """Loads modules from the tensors below a prefix each, where all names and shapes are theirs, and tells whether."""
    states = [{n[len(prefix) :]: each for n, each in tensors.items() if n.startswith(prefix)} for _, prefix in pairs]
    for (module, _), state in zip(pairs, states, strict=True):
        own = module.state_dict()
        if own.keys() != state.keys() or any(own[name].shape != state[name].shape for name in own):
            return False
    for (module, _), state in zip(pairs, states, strict=True):
        module.load_state_dict(state)
    return True
