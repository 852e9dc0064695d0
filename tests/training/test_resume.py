from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import optim

from greenedge.augment import AUGMENTATIONS
from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.data.loader import InputTransform
from greenedge.models.multi_exit import build_network
from greenedge.training.loop import EpochRecord
from greenedge.training.optimizers import adamw, sgd
from greenedge.training.state import TrainingState, new_state, restore_state, save_state
from tests.training.helpers import differing, settings, tiny_state, train, train_split

AUGMENT = tuple(AUGMENTATIONS[name] for name in ("horizontal_flip", "pad_and_crop", "cutmix", "mixup"))


def timeless(records: list[EpochRecord]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(r) | {"seconds": 0, "images_per_second": 0} for r in records]


@pytest.mark.parametrize("stop_after", [6, 7, 1])  # after two epochs, within the third, within the first
@pytest.mark.parametrize(
    ("optimizer", "ema_decay"),
    [(sgd, None), (sgd, 0.9), (partial(adamw, lr=0.01), 0.9)],
    ids=["sgd", "ema", "adamw"],
)
def test_resumed_training_equals_an_uninterrupted_one(
    prepared: Path,
    tmp_path: Path,
    optimizer: Callable[..., optim.Optimizer],
    ema_decay: float | None,
    stop_after: int,
) -> None:
    split = train_split(prepared)
    setting = settings(epochs=4, augment=AUGMENT, gradient_clip_norm=1.0, learning_rate=lambda p, _: 0.1 * (1 - p))
    unbroken = tiny_state(optimizer=optimizer, ema_decay=ema_decay)
    expected = train(unbroken, split, setting)

    first = tiny_state(optimizer=optimizer, ema_decay=ema_decay)
    records = train(first, split, setting, stop_after)
    assert (first.epoch, first.step) == divmod(stop_after, 3)
    save_state(tmp_path / "state.pt", first)
    torch.rand(100)  # another process has another random state
    second = tiny_state(seed=99, optimizer=optimizer, ema_decay=ema_decay)
    restore_state(tmp_path / "state.pt", second, steps_per_epoch=3)
    records += train(second, split, setting)

    assert differing(unbroken, second) == []
    assert timeless(records) == timeless(expected)
    assert differing(unbroken, first)


def test_resumed_efficientnet_with_stochastic_depth_equals_an_uninterrupted_one(prepared: Path, tmp_path: Path) -> None:
    def fresh(seed: int) -> TrainingState:
        torch.manual_seed(seed)
        exits = (ExitConfig("features.3", Component("light")),)
        network = build_network(ModelConfig("efficientnet_b0", exits=exits), 3, 32)
        return new_state(network, adamw(network, lr=0.001), 0.99)

    transform = InputTransform(32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), channels_last=True)
    setting = settings(epochs=2, batch_size=18, transform=transform, augment=AUGMENT[:1])
    unbroken, first, second = fresh(0), fresh(0), fresh(1)
    train(unbroken, train_split(prepared), setting)
    train(first, train_split(prepared), setting, stop_after=3)
    save_state(tmp_path / "state.pt", first)
    restore_state(tmp_path / "state.pt", second, steps_per_epoch=2)
    train(second, train_split(prepared), setting)
    assert differing(unbroken, second) == []
