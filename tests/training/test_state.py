from __future__ import annotations

import pickle
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision

from greenedge.errors import CheckpointError
from greenedge.training.optimizers import adamw
from greenedge.training.state import TrainingState, read_state, restore_state, save_state
from tests.training.helpers import Trap, flat, full_disk, settings, tiny_state, train, train_split


def trained(prepared: Path) -> TrainingState:
    """Builds a state that was stopped in the middle of its second epoch."""
    state = tiny_state(optimizer=partial(adamw, lr=0.01), ema_decay=0.9)
    train(state, train_split(prepared), settings(epochs=2), stop_after=4)
    return state


def refused(path: Path, state: TrainingState, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence) as caught:
        restore_state(path, state, steps_per_epoch=3)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_restore_state_restores_everything(prepared: Path, tmp_path: Path) -> None:
    state, other = trained(prepared), tiny_state(seed=1, optimizer=partial(adamw, lr=0.5), ema_decay=0.9)
    save_state(tmp_path / "state.pt", state)
    restore_state(tmp_path / "state.pt", other, steps_per_epoch=3)
    assert (other.epoch, other.step) == (1, 1)
    assert other.history == state.history
    assert len(state.history) == 1
    assert torch.equal(other.running_sums, state.running_sums)
    assert other.running_sums[1] == 10  # images of the one step
    assert other.averaged is not None
    assert state.averaged is not None
    for ours, theirs in ((state.network, other.network), (state.averaged, other.averaged)):
        assert torch.equal(flat(iter(ours.state_dict().values())), flat(iter(theirs.state_dict().values())))
    moments = [
        torch.stack([flat([values[name].sum()]) for values in each.optimizer.state.values() for name in values])
        for each in (state, other)
    ]
    assert moments[0].any()
    assert torch.equal(moments[0], moments[1])


def test_save_state_keeps_the_history_as_plain_values(prepared: Path, tmp_path: Path) -> None:
    state = trained(prepared)
    save_state(tmp_path / "state.pt", state)
    assert read_state(tmp_path / "state.pt")["history"] == [asdict(record) for record in state.history]


def test_training_state_evaluates_the_exponential_average() -> None:
    state = tiny_state(ema_decay=0.8)
    assert state.averaged is not None
    assert state.evaluated is state.averaged.module
    expected = None
    for seed in range(50):
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in state.network.parameters():
                parameter.normal_()
        state.averaged.update_parameters(state.network)
        now = flat(state.network.parameters())
        decay = min(0.8, (1 + seed) / (10 + seed))  # rises up to 0.8
        expected = now if expected is None else decay * expected + (1 - decay) * now
    assert expected is not None
    torch.testing.assert_close(flat(state.evaluated.parameters()), expected, rtol=1e-5, atol=1e-6)


def test_training_state_evaluates_the_network_without_an_average() -> None:
    state = tiny_state()
    assert state.evaluated is state.network


def test_read_state_names_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "state.pt", tiny_state(), r"there is nothing to resume here; train without --resume$")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_read_state_refuses_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = tmp_path / "state.pt"
    save_state(path, tiny_state())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, tiny_state(), r"cannot be read; it is truncated or not a file of tensors$")


def test_read_state_refuses_code_without_running_it(tmp_path: Path) -> None:
    path, marker = tmp_path / "state.pt", tmp_path / "marker"
    pickle.loads(pickle.dumps(Trap(marker)))
    assert marker.exists()  # the trap works
    marker.unlink()
    torch.save({"network": Trap(marker)}, path)
    refused(
        path,
        tiny_state(),
        r"is not a file of tensors, or holds more than tensors, and greenedge runs no code from files$",
    )
    assert not marker.exists()


def test_restore_state_refuses_the_state_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, tiny_state(width=4))
    refused(path, tiny_state(width=8), r"belongs to another network, config or data set \(.+\)$")
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    refused(path, tiny_state(), r"belongs to another network, config or data set \(.+\)$")


def test_restore_state_refuses_a_state_without_the_average(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, tiny_state())
    refused(path, tiny_state(ema_decay=0.9), r"belongs to another network, config or data set \(.+\)$")


def test_save_state_on_a_full_disk_keeps_the_previous_state(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, tiny_state())
    before = path.read_bytes()
    large = tiny_state(width=64)
    sentence = r"cannot be written \(.+\); free some space and resume, the previous checkpoint is intact$"
    with full_disk(), pytest.raises(CheckpointError, match=sentence) as caught:
        save_state(path, large)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    save_state(path, large)  # with space again
    assert path.stat().st_size > len(before)


def test_exponential_average_averages_batch_norm_statistics_and_copies_counters() -> None:
    state = tiny_state(ema_decay=0.8)
    assert state.averaged is not None
    name = "backbone.0.1.running_mean"
    expected = None
    for step in range(20):
        torch.manual_seed(step)
        buffers = dict(state.network.named_buffers())
        buffers[name].normal_()
        buffers["backbone.0.1.num_batches_tracked"].fill_(step)
        state.averaged.update_parameters(state.network)
        decay = min(0.8, (1 + step) / (10 + step))
        now = buffers[name].double()
        expected = now if expected is None else decay * expected + (1 - decay) * now
    averaged = dict(state.averaged.module.named_buffers())
    torch.testing.assert_close(averaged[name].double(), expected, rtol=1e-5, atol=1e-6)
    assert averaged["backbone.0.1.num_batches_tracked"] == 19
