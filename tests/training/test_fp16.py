"""Training in fp16: the scaled loss on a CPU, where its arithmetic is the same, and the whole of it on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from greenedge.errors import CheckpointError
from greenedge.training.optimizers import adamw
from greenedge.training.state import TrainingState, new_state, restore_state, save_state
from tests.training.helpers import differing, settings, tiny_network, tiny_state, train, train_split


def scaled_state(seed: int = 0, ema_decay: float | None = None, **options: Any) -> TrainingState:
    state = tiny_state(seed, ema_decay=ema_decay)
    state.scaler = torch.amp.GradScaler("cpu", **options)
    return state


@pytest.mark.parametrize("changes", [{}, {"gradient_clip_norm": 0.1}, {"accumulate": 2, "gradient_clip_norm": 0.1}])
def test_scaling_changes_nothing_where_no_gradient_vanishes(prepared: Path, changes: dict[str, Any]) -> None:
    # A power of 2 times a float32 has the same digits, so a forgotten or doubled unscaling shows.
    plain, scaled = tiny_state(), scaled_state(init_scale=2.0**10, growth_interval=4)
    train(plain, train_split(prepared), settings(epochs=3, **changes))
    train(scaled, train_split(prepared), settings(epochs=3, **changes))
    assert differing(plain, scaled) == []
    assert scaled.scaler is not None
    assert scaled.scaler.get_scale() == 2.0**12  # it has doubled after each 4 of 9 steps


def test_steps_with_too_large_gradients_are_left_out(prepared: Path) -> None:
    state, untouched = scaled_state(init_scale=2.0**127), scaled_state()
    train(state, train_split(prepared), settings(epochs=1, batch_size=36, exit_weights=(64.0, 64.0)))
    assert state.scaler is not None
    assert state.scaler.get_scale() == 2.0**126
    moved = differing(state, untouched)
    assert moved
    assert all("running_" in name or "num_batches" in name for name in moved)  # the weights are as they were


@pytest.mark.parametrize("stop_after", [4, 6])
def test_scale_is_the_same_in_a_resumed_training(prepared: Path, tmp_path: Path, stop_after: int) -> None:
    options = {"init_scale": 2.0**126, "growth_interval": 3}  # some steps are left out, and then it grows again
    setting = settings(epochs=4, exit_weights=(64.0, 64.0), learning_rate=lambda *_: 0.001)
    unbroken, first = scaled_state(ema_decay=0.9, **options), scaled_state(ema_decay=0.9, **options)
    train(unbroken, train_split(prepared), setting)
    train(first, train_split(prepared), setting, stop_after)
    save_state(tmp_path / "state.pt", first)
    second = scaled_state(seed=7, ema_decay=0.9)
    restore_state(tmp_path / "state.pt", second, steps_per_epoch=3)
    train(second, train_split(prepared), setting)
    assert differing(unbroken, second) == []
    assert unbroken.scaler is not None
    assert second.scaler is not None
    assert unbroken.scaler.state_dict() == second.scaler.state_dict()
    assert unbroken.scaler.get_scale() < 2.0**126


@pytest.mark.parametrize("damage", [{"scale": 0.0}, {"scale": float("nan")}, {"scale": "1"}, {"_growth_tracker": -1}])
def test_restore_state_refuses_a_damaged_scale(tmp_path: Path, damage: dict[str, Any]) -> None:
    state = scaled_state()
    assert state.scaler is not None
    state.scaler.state_dict = lambda: torch.amp.GradScaler("cpu").state_dict() | damage  # type: ignore[method-assign]
    save_state(tmp_path / "state.pt", state)
    with pytest.raises(CheckpointError, match=f"its scaler's {next(iter(damage))} is"):
        restore_state(tmp_path / "state.pt", scaled_state(), steps_per_epoch=3)


def test_restore_state_refuses_a_state_of_another_precision(tmp_path: Path) -> None:
    for saved, own in ((scaled_state(), tiny_state()), (tiny_state(), scaled_state())):
        save_state(tmp_path / "state.pt", saved)
        with pytest.raises(CheckpointError, match="only one of the two is trained in fp16"):
            restore_state(tmp_path / "state.pt", own, steps_per_epoch=3)


def test_training_under_fp16_autocast_learns(prepared: Path) -> None:
    state = scaled_state()
    records = train(state, train_split(prepared), settings(epochs=8, autocast=torch.float16))
    assert records[-1].loss < 0.95 * records[0].loss


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_in_fp16_on_a_gpu_equals_float32_nearly(prepared: Path) -> None:
    losses = []
    for autocast in (None, torch.float16):
        network = tiny_network(dropout=0.0).to("cuda")
        state = new_state(network, adamw(network, lr=0.01), None)
        state.scaler = None if autocast is None else torch.amp.GradScaler("cuda")
        records = train(state, train_split(prepared), settings(epochs=3, autocast=autocast))
        losses.append([each.loss for each in records])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
