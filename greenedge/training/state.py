"""Everything a training run is at one moment, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel

from greenedge.errors import CheckpointError
from greenedge.files import write_atomically
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.weights import load_tensors


@dataclass
class TrainingState:
    """What changes while training.

    There is no random state: the randomness of a step is a function of the seed, the epoch and the step.

    Attributes:
        network: being trained.
        optimizer: its own state included.
        averaged: exponential moving average of the weights, or None.
        tally: float64 (2 + E,): sums over the current epoch of loss times images, images, and right answers an exit.
        epoch: epochs done.
        step: steps done in the current epoch.
        data: names the training images; a state is not continued on others.
    """

    network: MultiExitNetwork
    optimizer: optim.Optimizer
    averaged: AveragedModel | None
    tally: Tensor
    data: str
    epoch: int = 0
    step: int = 0

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate and keep: the averaged one, where there is one."""
        return self.network if self.averaged is None else self.averaged.module


def new_state(
    network: MultiExitNetwork, optimizer: optim.Optimizer, ema_decay: float | None, data: str = ""
) -> TrainingState:
    """The state before the first step; the network lies on its device already."""
    averaged = None
    if ema_decay is not None:
        averaged = AveragedModel(network, multi_avg_fn=partial(_average, ema_decay), use_buffers=True)
    device = next(network.parameters()).device
    tally = torch.zeros(2 + network.num_exits, dtype=torch.float64, device=device)
    return TrainingState(network, optimizer, averaged, tally, data)


def save_state(path: Path, state: TrainingState) -> None:
    """Writes the state, atomically.

    Raises:
        CheckpointError: the disk is full or refuses; the file that was there before is unharmed.
    """
    content = {
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "optimizer_name": type(state.optimizer).__name__,
        "averaged": None if state.averaged is None else state.averaged.state_dict(),
        "tally": state.tally,
        "data": state.data,
        "epoch": state.epoch,
        "step": state.step,
    }
    try:
        write_atomically(path, lambda temporary: torch.save(content, temporary))
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError on a full disk
        raise CheckpointError(
            f"{path}: cannot be written ({_reason(error)}); free some space and resume, the checkpoint before is intact"
        ) from None


def restore_state(path: Path, state: TrainingState) -> None:
    """Reads a saved state into `state`, which was built from the same recipe.

    Raises:
        CheckpointError: no such file, truncated, holding code, or of another network or optimizer.
    """
    content = _read(path)
    try:
        if content["optimizer_name"] != type(state.optimizer).__name__:
            raise ValueError(f"its optimizer is {content['optimizer_name']}")
        if (content["averaged"] is None) != (state.averaged is None):
            raise ValueError("one of the two averages its weights")
        if content["data"] != state.data:
            raise ValueError("it was trained on other images")
        state.network.load_state_dict(content["network"])
        state.optimizer.load_state_dict(content["optimizer"])
        if state.averaged is not None:
            state.averaged.load_state_dict(content["averaged"])
        state.tally.copy_(content["tally"])
        state.epoch, state.step = int(content["epoch"]), int(content["step"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path}: belongs to another network, recipe or data set ({_reason(error)})") from None


def _average(decay: float, averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
    """Moves the averages towards the current values; counters are copied.

    The decay rises as (1 + t) / (10 + t) to its value, so that the random first weights are soon forgotten (as in
    TensorFlow's and timm's averages).
    """
    steps = int(count)
    if averaged[0].is_floating_point():
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + steps) / (10 + steps)))
    else:
        torch._foreach_copy_(averaged, current)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is nothing to resume here; train without --resume")
    content = load_tensors(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: is not a checkpoint of a training")
    return content


def _reason(error: BaseException) -> str:
    """The first line of an error, which for torch's can run to hundreds."""
    return str(error).strip().split("\n")[0] or type(error).__name__
