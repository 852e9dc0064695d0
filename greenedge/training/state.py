"""The state of a training, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from greenedge.errors import CheckpointError
from greenedge.files import SEAL, write_atomically
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.weights import load_tensors
from greenedge.training.average import ExponentialAverage, LastEpochsAverage
from greenedge.training.history import HistoryRecord, parse_records, plain_records
from greenedge.training.learned_mixing import LearnedMixing
from greenedge.training.state_checks import check_content, check_optimizer, content_digest


@dataclass
class TrainingState:
    """All that changes during a training.

    There is no random state, since the random numbers of a step are a function of the seed, the epoch and the step.

    Attributes:
        network: the network that is trained.
        optimizer: with its own state.
        averaged: average of the weights, over steps or over the last epochs, or None.
        running_sums: float64 (2 + E,): sums over the current epoch of loss times images, images, and correct
            predictions per exit.
        data: digest of the training images; a state is not continued on others.
        epoch: number of epochs done.
        step: number of steps done in the current epoch.
        history: the records of the epochs done, from which `history.jsonl` can be written again.
        parts: number of parts that its steps are computed in.
        scaler: of the loss, which keeps small gradients above the smallest number of fp16; None in other precisions.
        mixing: what mixes the images and learns beside the network, or None.
    """

    network: MultiExitNetwork
    optimizer: optim.Optimizer
    averaged: ExponentialAverage | LastEpochsAverage | None
    running_sums: Tensor
    data: str
    epoch: int = 0
    step: int = 0
    history: list[HistoryRecord] = field(default_factory=list)
    parts: int = 1
    scaler: torch.amp.GradScaler | None = None
    mixing: LearnedMixing | None = None

    def trained_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the network and of what mixes its images."""
        yield from self.network.parameters()
        if self.mixing is not None:
            yield from self.mixing.block.parameters()

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate and store: the averaged one, if there is one yet."""
        if self.averaged is None or (isinstance(self.averaged, LastEpochsAverage) and not self.averaged.has_begun):
            return self.network
        return self.averaged.module


def new_state(
    network: MultiExitNetwork,
    optimizer: optim.Optimizer,
    ema_decay: float | None,
    data: str = "",
    *,
    average_last: bool = False,
) -> TrainingState:
    """Builds the state before the first step; the network must already be on its device.

    Args:
        network: that is trained.
        optimizer: of its parameters.
        ema_decay: of an average over steps, or None.
        data: digest of the training images.
        average_last: the last epochs are averaged.
    """
    averaged: ExponentialAverage | LastEpochsAverage | None = None
    if ema_decay is not None:
        averaged = ExponentialAverage(network, ema_decay)
    elif average_last:
        averaged = LastEpochsAverage(network)
    device = next(network.parameters()).device
    dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    running_sums = torch.zeros(2 + network.num_exits, dtype=dtype, device=device)
    return TrainingState(network, optimizer, averaged, running_sums, data)


def save_state(path: Path, state: TrainingState) -> None:
    """Writes the state, atomically, with a digest of its content in the same file.

    Raises:
        CheckpointError: the file cannot be written; the previous file is unchanged.
    """
    content = _on_cpu(_content(state))
    content[SEAL] = content_digest(content)
    try:
        write_atomically(path, lambda temporary: torch.save(content, temporary))
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError on a full disk
        raise CheckpointError(
            f"{path}: cannot be written ({_reason(error)}); free some space and resume, "
            "the previous checkpoint is intact"
        ) from None


@dataclass(frozen=True)
class Restored:
    """How a saved state was restored.

    Attributes:
        by_former_name: it was saved before images were identified by their content, so only their labels and
            positions were compared.
        has_history: it held the records of its epochs.
        parts: number of parts that its steps were computed in.
    """

    by_former_name: bool = False
    has_history: bool = True
    parts: int = 1


def restore_state(path: Path, state: TrainingState, steps_per_epoch: int, former_data: str | None = None) -> Restored:
    """Reads a saved state into `state`, which was built from the same config.

    `state` is changed only if everything fits.

    Args:
        path: a file that `save_state` wrote.
        state: receives the saved values.
        steps_per_epoch: of this training.
        former_data: the digest that identified the images before their content did.

    Raises:
        CheckpointError: the file is missing, truncated, changed after it was written, holds code, or belongs to another
            network, optimizer or data set.
    """
    content = read_state(path)
    try:
        check_content(content, _content(state), steps_per_epoch, {state.data, former_data})
        shapes = [parameter.shape for group in state.optimizer.param_groups for parameter in group["params"]]
        check_optimizer(content["optimizer"], state.optimizer.state_dict(), shapes)
        state.network.load_state_dict(content["network"])
        state.optimizer.load_state_dict(content["optimizer"])
        if state.averaged is not None:
            state.averaged.load_state_dict(content["averaged"])
        if state.scaler is not None:
            state.scaler.load_state_dict(content["scaler"])
        if state.mixing is not None:
            state.mixing.load_state_dict(content["mixing"])
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path}: belongs to another network, config or data set ({_reason(error)})") from None

    state.running_sums.copy_(content["tally"])
    state.epoch, state.step = content["epoch"], content["step"]
    state.history = parse_records(content.get("history", []))
    return Restored(content["data"] != state.data, "history" in content, content.get("parts", 1))


def read_state(path: Path) -> dict[str, Any]:
    """Reads the content of a state's file; no code in it is ever run.

    Raises:
        CheckpointError: the file is missing, truncated, changed after it was written, or not a saved state.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is nothing to resume here; train without --resume")
    content = load_tensors(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: is not a checkpoint of a training")
    # The first versions wrote no digest.
    seal = content.pop(SEAL, None)
    try:
        valid = seal is None or seal == content_digest(content)
    except (TypeError, ValueError, RuntimeError):  # too deeply nested, or tensors without numbers
        valid = False
    if not valid:
        raise CheckpointError(
            f"{path}: was changed or damaged after it was written; put back a copy of it, or start another run (--out)"
        )
    return content


def _content(state: TrainingState) -> dict[str, Any]:
    return {
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "optimizer_name": type(state.optimizer).__name__,
        "averaged": None if state.averaged is None else state.averaged.state_dict(),
        "tally": state.running_sums,
        "data": state.data,
        "epoch": state.epoch,
        "step": state.step,
        "history": plain_records(state.history),
        "parts": state.parts,
        "scaler": None if state.scaler is None else state.scaler.state_dict(),
        "mixing": None if state.mixing is None else state.mixing.state_dict(),
    }


def _on_cpu(value: Any) -> Any:
    if torch.is_tensor(value):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {name: _on_cpu(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_on_cpu(child) for child in value]
    return value


def _reason(error: BaseException) -> str:
    """Returns the first line of an error; those of torch can have hundreds."""
    return str(error).strip().split("\n")[0] or type(error).__name__
