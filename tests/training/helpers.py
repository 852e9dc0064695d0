"""Helpers for training tests: a tiny network, and a full disk."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from greenedge.data.loader import InputTransform
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import measure_shapes
from greenedge.training.history import HistoryRecord
from greenedge.training.loop import EpochRecord, fit
from greenedge.training.losses import cross_entropy
from greenedge.training.optimizers import sgd
from greenedge.training.settings import TrainSettings
from greenedge.training.state import TrainingState, new_state

GENTLE_SGD = partial(sgd, lr=0.05)
TRANSFORM = InputTransform(16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def tiny_network(seed: int = 0, width: int = 8, dropout: float = 0.3) -> MultiExitNetwork:
    """Builds two convolutions with norms and dropout, with an early exit between them; 3 classes."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(dropout)),
        nn.Sequential(nn.Conv2d(width, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Linear(width, 3),
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), backbone[2])
    blocks = [("0", backbone[0]), ("1", backbone[1])]
    return MultiExitNetwork(backbone, blocks, measure_shapes(blocks, 16), [(0, head)], classifier)


def tiny_state(
    seed: int = 0,
    optimizer: Callable[..., optim.Optimizer] = GENTLE_SGD,
    ema_decay: float | None = None,
    width: int = 8,
    dropout: float = 0.3,
) -> TrainingState:
    network = tiny_network(seed, width, dropout)
    return new_state(network, optimizer(network), ema_decay)


def settings(**changes: Any) -> TrainSettings:
    """Settings of a constant learning rate on batches of 10 (3 steps per epoch, 6 images left out)."""
    usual: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 10,
        "seed": 5,
        "augment": (),
        "transform": TRANSFORM,
        "loss": cross_entropy,
        "exit_weights": (1.0, 1.0),
        "learning_rate": lambda *_: 0.05,
    }
    return TrainSettings(**(usual | changes))


def train_split(prepared: Path) -> PreparedSplit:
    return open_prepared(prepared).split("train")


def train(
    state: TrainingState, split: PreparedSplit, settings: TrainSettings, stop_after: int | None = None
) -> list[EpochRecord]:
    """Trains; `stop_after` requests a stop after that many steps."""
    asked = iter(range(10**9))
    records = []
    for record in fit(state, split, settings, lambda: stop_after is not None and next(asked) >= stop_after):
        accuracy = (0.5,) * state.network.num_exits
        state.history = [*state.history, HistoryRecord(**asdict(record), split="val", accuracy=accuracy)]
        records.append(record)
    return records


def flat(tensors: Sequence[Tensor] | Iterator[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors])


def tensors(state: TrainingState) -> dict[str, Tensor]:
    averaged = {} if state.averaged is None else state.averaged.state_dict()
    return state.network.state_dict() | {f"averaged.{name}": tensor for name, tensor in averaged.items()}


def differing(one: TrainingState, other: TrainingState) -> list[str]:
    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


@contextmanager
def full_disk(bytes_left: int = 4096) -> Iterator[None]:
    """Limits files to `bytes_left`, so that writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)
