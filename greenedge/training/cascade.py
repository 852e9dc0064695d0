"""One network made of several trained ones: which runs may follow each other, and what its checkpoint says."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from greenedge.config import RunConfig, config_to_text
from greenedge.config.convert import did_you_mean
from greenedge.config.schema import IMAGE_SIZES
from greenedge.cost.table import NetworkCost
from greenedge.errors import CheckpointError, UsageError
from greenedge.exits.outputs import ExitOutputs
from greenedge.models.build import build_cascade
from greenedge.models.cascade import Cascade
from greenedge.training.checkpoint import CheckpointInfo, load_into
from greenedge.training.run_files import checkpoint_path
from greenedge.training.trained import TrainedModel, load_model

_FINAL = "final"
# Images in [0, 1], which each member normalises itself.
_MEAN, _STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Member:
    """A trained network as a member of a cascade.

    Attributes:
        name: as the user named it.
        model: as it was trained.
        config: its config, with the image size and the exits that it has here.
        kept: places of those exits among the model's, the final one included.
    """

    name: str
    model: TrainedModel
    config: RunConfig
    kept: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Member({self.name}: {self.model.summary})"

    @property
    def image_size(self) -> int:
        """Pixels per side of what it sees here."""
        return self.config.data.input_size

    @property
    def is_as_trained(self) -> bool:
        """Whether it sees images of the size it was trained at."""
        return self.image_size == self.model.config.data.input_size

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The weights, without those of the heads left out."""
        found = {}
        for name, tensor in self.model.checkpoint.tensors.items():
            head = re.fullmatch(r"(heads|formers)\.(\d+)(\..+)", name)
            if head is None:
                found[name] = tensor
            elif int(head[2]) in self.kept:
                found[f"{head[1]}.{self.kept.index(int(head[2]))}{head[3]}"] = tensor
        return found

    def load_into(self, network: nn.Module) -> None:
        """Loads the weights into the network of `config`.

        Raises:
            CheckpointError: its heads are made for another image size.
        """
        try:
            load_into(network, self.tensors, self.model.path)
        except CheckpointError:
            if self.is_as_trained:
                raise
            raise CheckpointError(
                f"{self.name}: its heads are made for {self.model.config.data.input_size} px and do not fit "
                f"{self.image_size} px; leave them out with {self.name}:{_FINAL}, or train with pooled heads"
            ) from None


def read_member(text: str) -> Member:
    """Reads a member such as `runs/a`, `runs/a@96` (at 96 px) or `runs/a@96:blocks.5.2,blocks.6` (with these exits).

    `:final` leaves out all early exits. A path that exists as a whole is taken as it is.

    Raises:
        UsageError: the size or an exit cannot be.
        CheckpointError: there is no such run, or it is a cascade.
    """
    path, size, exits = _parts(text)
    model = load_model(checkpoint_path(Path(path)))
    if model.members:
        raise CheckpointError(f"{text}: is a cascade already; name the runs that it was made of")
    data, network = model.config.data, model.config.model
    if size is not None:
        if size not in IMAGE_SIZES:
            raise UsageError(f"{text}: {size} px is no image size; expected {IMAGE_SIZES}")
        data = dataclasses.replace(data, image_size=size)
    kept = tuple(range(len(network.exits)))
    if exits is not None:
        kept = tuple(sorted(_exit_place(model, name, text) for name in exits if name != _FINAL))
        _check_former_exits(model, kept, text)
    network = dataclasses.replace(network, exits=tuple(network.exits[place] for place in kept))
    config = dataclasses.replace(model.config, data=data, model=network)
    return Member(text, model, config, (*kept, model.num_exits - 1))


def _parts(text: str) -> tuple[str, int | None, list[str] | None]:
    if Path(text).exists():
        return text, None, None
    found = re.fullmatch(r"(?P<path>.+?)(@(?P<size>\d+))?(:(?P<exits>[^:/]+))?", text, re.DOTALL)
    assert found is not None
    size, exits = found["size"], found["exits"]
    return found["path"], None if size is None else int(size), None if exits is None else exits.split(",")


def _exit_place(model: TrainedModel, name: str, text: str) -> int:
    blocks, named = model.exits[:-1], [each.after for each in model.config.model.exits]
    for names in (blocks, named):  # a stage's name means its last block
        if name in names:
            return list(names).index(name)
    hint = did_you_mean(name, blocks) or (f"its exits come after {', '.join(blocks)}" if blocks else "it has none")
    raise UsageError(f"{text}: has no exit after {name!r}; {hint}")


def _check_former_exits(model: TrainedModel, kept: Sequence[int], text: str) -> None:
    for place in kept:
        if model.config.model.exits[place].former_logits and place - 1 not in kept:
            before, after = model.exits[place - 1 : place + 1]
            raise UsageError(
                f"{text}: the exit after {after!r} sees the logits of the one after {before!r}, which is left out; "
                "name both, or neither"
            )


def check_members(members: Sequence[Member]) -> None:
    """Whether networks may follow each other.

    Raises:
        UsageError: fewer than two, or one twice at the same size.
        CheckpointError: other classes, or other training images.
    """
    if len(members) < 2:
        raise UsageError("a cascade needs at least two runs")
    for member in members[1:]:
        _check_same_data(member, members[0])
    for other, member in itertools.combinations(members, 2):
        if (member.model.digest, member.image_size) == (other.model.digest, other.image_size):
            raise UsageError(
                f"{member.name}: is there twice at {member.image_size} px; give another run, or another size "
                "(RUN@PIXELS)"
            )


def _check_same_data(member: Member, first: Member) -> None:
    theirs, ours = ([each.id for each in one.model.classes] for one in (member, first))
    if theirs != ours:
        raise CheckpointError(f"{member.name}: was trained on other classes than {first.name}; all must know the same")
    if member.model.stored_size != first.model.stored_size:
        raise CheckpointError(
            f"{member.name}: was trained on images prepared at {member.model.stored_size} px, {first.name} on images "
            f"of {first.model.stored_size} px; train both on one prepared data set"
        )
    seen, expected = member.model.seen, first.model.seen
    if seen is None or expected is None:
        return
    if (seen.train, seen.calibration) != (expected.train, expected.calibration):
        raise CheckpointError(
            f"{member.name}: was trained on other images than {first.name}, so that no calibration images are new to "
            "both; train all members on the same split"
        )


def check_order(members: Sequence[Member], cost: NetworkCost) -> None:
    """Whether each member costs more than the one before.

    Args:
        members: of the cascade.
        cost: of the cascade.

    Raises:
        UsageError: one does not.
    """
    finals = [*itertools.accumulate(len(member.kept) for member in members)]
    spent = [0.0, *(cost.exits[final - 1].gflops for final in finals)]
    costs = [after - before for before, after in itertools.pairwise(spent)]
    for (before, cost_before), (after, cost_after) in itertools.pairwise(zip(members, costs, strict=True)):
        if cost_after <= cost_before:
            raise UsageError(
                f"{after.name} costs {cost_after:.4f} GFLOPs, no more than {before.name} before it with "
                f"{cost_before:.4f}; "
                "name the runs from the cheapest to the dearest"
            )


def build_from_members(members: Sequence[Member]) -> Cascade:
    """The cascade with the members' weights, in evaluation mode."""
    configs = [each.config for each in members]
    cascade = build_cascade(configs, len(members[0].model.classes), members[0].model.stored_size)
    for own, member in zip(cascade.members, members, strict=True):
        member.load_into(own)
    cascade.eval()
    return cascade


def cascade_info(members: Sequence[Member], cost: NetworkCost) -> CheckpointInfo:
    """What the checkpoint of a cascade says besides the weights."""
    last = members[-1]
    data = dataclasses.replace(last.config.data, image_size=last.model.stored_size, mean=_MEAN, std=_STD)
    config = dataclasses.replace(last.config, data=data)
    return CheckpointInfo(
        config=config_to_text(config),
        classes=last.model.classes,
        epoch=last.model.epoch,
        stored_size=last.model.stored_size,
        # Of the members' training images all or none is known.
        seen=last.model.seen if all(each.model.seen is not None for each in members) else None,
        cost=cost,
        members=tuple(config_to_text(each.config) for each in members),
        plugins=tuple(dict.fromkeys(plugin for each in members for plugin in each.model.checkpoint.info.plugins)),
    )


def join_members(outputs: Sequence[ExitOutputs], members: Sequence[Member], gflops: Sequence[float]) -> ExitOutputs:
    """The outputs of a cascade from those of its members on the same images: one after the other.

    Args:
        outputs: of each member's network as it was trained.
        members: which exits of it there are here.
        gflops: (E,), of each exit of the cascade.
    """
    logits = [each.logits[list(member.kept)] for each, member in zip(outputs, members, strict=True)]
    return ExitOutputs(np.concatenate(logits), outputs[0].labels, np.array(gflops))
