"""Everything a training run is at one moment, and its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from greenedge.errors import CheckpointError
from greenedge.files import SEAL, write_atomically
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.weights import load_tensors
from greenedge.training.average import ExponentialAverage
from greenedge.training.state_checks import check_content, check_optimizer, content_digest


@dataclass
class TrainingState:
    """What changes while training.

    There is no random state: the randomness of a step is a function of the seed, the epoch and the step.

    Attributes:
        network: being trained.
        optimizer: its own state included.
        averaged: exponential moving average of the weights, or None.
        running_sums: float64 (2 + E,): sums over the current epoch of loss times images, images, and correct
            predictions per exit.
        data: names the training images by their content; a state is not continued on others.
        epoch: epochs done.
        step: steps done in the current epoch.
        history: the records of the epochs done, so that `history.jsonl` can be written anew.
    """

    network: MultiExitNetwork
    optimizer: optim.Optimizer
    averaged: ExponentialAverage | None
    running_sums: Tensor
    data: str
    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate and keep: the averaged one, where there is one."""
        return self.network if self.averaged is None else self.averaged.module


def new_state(
    network: MultiExitNetwork, optimizer: optim.Optimizer, ema_decay: float | None, data: str = ""
) -> TrainingState:
    """The state before the first step; the network lies on its device already."""
    averaged = None if ema_decay is None else ExponentialAverage(network, ema_decay)
    device = next(network.parameters()).device
    dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    running_sums = torch.zeros(2 + network.num_exits, dtype=dtype, device=device)
    return TrainingState(network, optimizer, averaged, running_sums, data)


def save_state(path: Path, state: TrainingState) -> None:
    """Writes the state, atomically, with a digest of its content in the same file.

    Raises:
        CheckpointError: the disk is full or refuses; the file that was there before is unharmed.
    """
    content = _on_cpu(_content(state))
    content[SEAL] = content_digest(content)
    try:
        write_atomically(path, lambda temporary: torch.save(content, temporary))
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError on a full disk
        raise CheckpointError(
            f"{path}: cannot be written ({_reason(error)}); free some space and resume, the checkpoint before is intact"
        ) from None


@dataclass(frozen=True)
class Restored:
    """What a saved state said beside its numbers.

    Attributes:
        by_former_name: it was saved before images were named by their content, so only their labels and places were
            compared.
        has_history: it holds the records of its epochs.
    """

    by_former_name: bool = False
    has_history: bool = True


def restore_state(path: Path, state: TrainingState, steps_per_epoch: int, former_data: str | None = None) -> Restored:
    """Reads a saved state into `state`, which was built from the same config; it is changed only where all fits.

    Args:
        path: what `save_state` wrote.
        state: receives it.
        steps_per_epoch: of this training.
        former_data: what named the images before they were named by their content.

    Raises:
        CheckpointError: no such file, truncated, changed after it was written, holding code, or of another network,
            optimizer or data set.
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
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path}: belongs to another network, config or data set ({_reason(error)})") from None

    state.running_sums.copy_(content["tally"])
    state.epoch, state.step = content["epoch"], content["step"]
    state.history = list(content.get("history", []))
    return Restored(content["data"] != state.data, "history" in content)


def read_state(path: Path) -> dict[str, Any]:
    """What is in a state's file, as it was written; no code in it is ever run.

    Raises:
        CheckpointError: no such file, truncated, changed after it was written, or something else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is nothing to resume here; train without --resume")
    content = load_tensors(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: is not a checkpoint of a training")
    seal = content.pop(SEAL, None)  # states of before it was written have none
    try:
        sound = seal is None or seal == content_digest(content)
    except (TypeError, ValueError, RuntimeError):  # nested without end, or tensors of a kind that has no numbers
        sound = False
    if not sound:
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
        "history": state.history,
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
    """The first line of an error, which for torch's can run to hundreds."""
    return str(error).strip().split("\n")[0] or type(error).__name__
