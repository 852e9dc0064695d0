"""Checks that the processes of one training train the same network on the same images."""

from __future__ import annotations

import dataclasses
import hashlib

import torch
from torch import Tensor

from greenedge.config import RunConfig, config_to_text
from greenedge.device.processes import Processes
from greenedge.errors import TrainingError
from greenedge.training.state import TrainingState


def check_same_start(config: RunConfig, state: TrainingState, processes: Processes) -> None:
    """Compares config, images and weights with those of the first process, before the first step.

    Raises:
        TrainingError: something differs; the message names the process and what differs.
    """
    elsewhere = dataclasses.replace(config.data, path="")  # the same images may lie at another place on each machine
    text = config_to_text(dataclasses.replace(config, data=elsewhere))
    _compare("was started with another config", _digest(text), processes)
    _compare("reads other training images, or learns from another teacher", _digest(state.data), processes)
    _compare(f"is at another step than {state.step} of epoch {state.epoch}", _position(state), processes)
    _compare("starts with other weights, as with another PyTorch", _checksum(state), processes)


def check_same_weights(state: TrainingState, processes: Processes) -> None:
    """Compares all that is trained with that of the first process, to the last bit.

    Raises:
        TrainingError: it differs.
    """
    _compare("has other weights than the first after the same steps; nothing is saved", _checksum(state), processes)


def _compare(what: str, own: Tensor, processes: Processes) -> None:
    """Lets every process fail where one differs, so that none waits for another."""
    if processes.count == 1:
        return
    gathered = processes.gather(own)
    differing = [rank for rank in range(processes.count) if not torch.equal(gathered[rank], gathered[0])]
    if differing:
        raise TrainingError(f"process {differing[0]} of {processes.count} {what}")


def _digest(text: str) -> Tensor:
    return torch.frombuffer(bytearray(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8)


def _position(state: TrainingState) -> Tensor:
    return torch.tensor([state.epoch, state.step])


def _checksum(state: TrainingState) -> Tensor:
    """Sums of the bits of each tensor of the network, its averages and what mixes its images, int64 (n,)."""
    tensors = list(state.network.state_dict().values())
    if state.averaged is not None:
        tensors += state.averaged.module.state_dict().values()
    if state.mixing is not None:
        tensors += state.mixing.state_dict().values()
    floats = [tensor.detach() for tensor in tensors if tensor.dtype == torch.float32]
    return torch.stack([each.view(torch.int32).sum(dtype=torch.int64) for each in floats]).cpu()
