"""A trained network: what its checkpoint says at once, and the network itself once it is asked for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from greenedge.config import RunConfig
from greenedge.config.describe import model_summary
from greenedge.cost.table import NetworkCost
from greenedge.data.layouts import ClassInfo
from greenedge.data.prepared import PreparedData, open_prepared
from greenedge.data.run_splits import open_named_split
from greenedge.data.seen import SeenImages
from greenedge.device.precision import RunPrecision
from greenedge.errors import CheckpointError, ConfigError, DataError
from greenedge.training.checkpoint import Checkpoint, load_into, read_checkpoint
from greenedge.training.configs import parse_config
from greenedge.training.plugins_in_use import missing_plugins

if TYPE_CHECKING:
    from greenedge.models.multi_exit import MultiExitNetwork

_log = logging.getLogger("greenedge")


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """A network from a checkpoint.

    Attributes:
        path: of the checkpoint.
        checkpoint: what was read from it.
        config: its config; of a cascade that of the last member, with the cascade's input.
        members: of a cascade, the config of each; empty for a single network.
    """

    path: Path
    checkpoint: Checkpoint
    config: RunConfig
    members: tuple[RunConfig, ...] = ()

    def __repr__(self) -> str:
        return f"TrainedModel({self.path}: {self.summary}, epoch {self.epoch})"

    @property
    def summary(self) -> str:
        """`resnet18 with exits after layer1 (light)`; of a cascade, each member and the size that it sees."""
        if not self.members:
            return model_summary(self.config.model)
        members = (f"{model_summary(each.model)} at {each.data.input_size} px" for each in self.members)
        return f"cascade of {', then '.join(members)}"

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """In the order of the logits."""
        return self.checkpoint.info.classes

    @property
    def epoch(self) -> int:
        """Epochs of training behind it."""
        return self.checkpoint.info.epoch

    @property
    def stored_size(self) -> int:
        """Pixels per side of the prepared images it was trained on; the config's image size where unknown."""
        return self.checkpoint.info.stored_size or self.config.data.input_size

    @property
    def seen(self) -> SeenImages | None:
        """The images it was trained on; None where that is unknown."""
        return self.checkpoint.info.seen

    @property
    def digest(self) -> str:
        """SHA-256 of the checkpoint as it was read."""
        return self.checkpoint.digest

    @property
    def own_precision(self) -> RunPrecision | None:
        """The only one that it runs in; None: PyTorch's are open."""
        return None

    @property
    def outputs_digest(self) -> str:
        """Names what computes outputs."""
        return self.digest

    @property
    def num_exits(self) -> int:
        """Early exits and the final one."""
        return sum(len(each.model.exits) + 1 for each in self.members or (self.config,))

    @property
    def exits(self) -> tuple[str, ...]:
        """The block that each exit comes after."""
        return tuple(exit.after for exit in self.cost.exits)

    @cached_property
    def cost(self) -> NetworkCost:
        """As it was counted when the network was trained, else counted now."""
        if self.checkpoint.info.cost is not None:
            return self.checkpoint.info.cost
        from greenedge.cost.flops import count_costs

        return count_costs(self.network)

    @cached_property
    def network(self) -> MultiExitNetwork:
        """With its weights, in evaluation mode; made when it is first asked for.

        Raises:
            CheckpointError: the weights do not fit the config, or that not this version.
        """
        from greenedge.models.build import build_cascade, build_model  # takes a second to import

        try:
            if self.members:
                network: MultiExitNetwork = build_cascade(self.members, len(self.classes), self.config.data.input_size)
            else:
                network = build_model(self.config, len(self.classes))
        except ConfigError as error:
            raise CheckpointError(f"{self.path}: its config does not fit this version of greenedge ({error})") from None
        load_into(network, self.checkpoint.tensors, self.path)
        return network.eval()


def load_model(path: Path) -> TrainedModel:
    """Reads a checkpoint.

    Raises:
        CheckpointError: the file is missing, broken or not such a checkpoint.
    """
    return model_of(path, read_checkpoint(path))


def model_of(path: Path, checkpoint: Checkpoint) -> TrainedModel:
    """What a checkpoint holds; `path` is for messages.

    Raises:
        CheckpointError: its config does not fit this version, or its metadata each other.
    """
    missing = [
        f"the plugin {each.name} (SHA-256 {each.digest[:12]})" for each in missing_plugins(checkpoint.info.plugins)
    ]
    try:
        config = parse_config(checkpoint.info.config, str(path))
        members = tuple(parse_config(text, str(path)) for text in checkpoint.info.members)
    except ConfigError as error:
        if missing:
            raise CheckpointError(
                f"{path}: its network needs {' and '.join(missing)}; name the file with --plugin"
            ) from None
        mistakes = "; ".join(map(str, error.errors))
        raise CheckpointError(f"{path}: its config does not fit this version of greenedge ({mistakes})") from None
    if missing:
        _log.warning("note: %s was trained with %s, whose content is another now", path, " and ".join(missing))
    model = TrainedModel(path, checkpoint, config, members)
    cost = checkpoint.info.cost
    if cost is not None and len(cost.exits) != model.num_exits:
        raise CheckpointError(f"{path}: its metadata are damaged (costs of {len(cost.exits)} exits)")
    return model


def open_data(model: TrainedModel, data: Path | None) -> PreparedData:
    """The prepared data set that is named, or the one that the network was trained on; its classes must be the same.

    Originals are decoded to the size of the images that the network was trained on, as `predict` decodes files.

    Raises:
        DataError: it is not there, or broken.
        CheckpointError: it has other classes.
    """
    path = data or Path(model.config.data.path)
    if data is None and not path.exists():
        raise DataError(f"{path}: the data set that {model.path} was trained on is not here; give --data")
    prepared = open_prepared(path)
    theirs, ours = [c.id for c in prepared.classes], [c.id for c in model.classes]
    if theirs != ours:
        first = next((f"{a!r} and {b!r}" for a, b in zip(ours, theirs, strict=False) if a != b), "in number")
        raise CheckpointError(
            f"{model.path}: was trained on {len(ours)} other classes than the {len(theirs)} of {prepared.path} "
            f"(they first differ: {first}); evaluate on the data set it was trained on"
        )
    return prepared.sized(model.stored_size)


def sets_aside(model: TrainedModel, data: Path | None) -> bool:
    """Whether the config sets any training images of a data set aside for calibration."""
    prepared = open_data(model, data)
    return "train" in prepared.splits and len(open_named_split(prepared, "calibration", model.config.data)) > 0
