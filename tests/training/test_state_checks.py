"""Each check of a saved state by itself, without a digest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from greenedge.errors import CheckpointError
from greenedge.training.optimizers import adamw
from greenedge.training.state import restore_state, save_state
from tests.training.helpers import settings, tiny_state, train, train_split

Content = dict[str, Any]
ADAMW = partial(adamw, lr=0.01)


def moment(content: Content) -> Content:
    """Returns the optimizer's state of its first parameter."""
    values: Content = content["optimizer"]["state"][0]
    return values


@pytest.fixture
def saved(prepared: Path, tmp_path: Path) -> Path:
    """Saves the state of a run that stopped in the middle of its second epoch."""
    state = tiny_state(optimizer=ADAMW)
    train(state, train_split(prepared), settings(epochs=2), stop_after=4)
    save_state(tmp_path / "state.pt", state)
    return tmp_path / "state.pt"


def changed(path: Path, change: Callable[[Content], object], *, sealed: bool = False) -> Path:
    content: Content = torch.load(path, weights_only=True)
    if not sealed:
        del content["digest"]
    change(content)
    torch.save(content, path)
    return path


def refusal(path: Path) -> str:
    state = tiny_state(seed=1, optimizer=ADAMW)
    before = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        restore_state(path, state, steps_per_epoch=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.network.state_dict().items())
    return str(caught.value)


def test_read_state_notices_a_changed_number(saved: Path) -> None:
    path = changed(saved, lambda content: content["network"]["heads.0.2.bias"].add_(1e-3), sealed=True)
    assert "was changed or damaged after it was written" in refusal(path)


def test_read_state_reads_a_state_without_a_digest(saved: Path) -> None:
    state = tiny_state(seed=1, optimizer=ADAMW)
    restore_state(changed(saved, lambda _: None), state, steps_per_epoch=3)
    assert (state.epoch, state.step) == (1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(epoch=-1), "its epoch is -1"),
        (lambda c: c.update(epoch="1"), "its epoch is '1'"),
        (lambda c: c.update(epoch=2), "its history does not match its epochs"),
        (lambda c: c.update(step=3), "its step is 3, of 3 per epoch"),
        (lambda c: c.update(step=True), "its step is True"),
        (lambda c: c.update(tally=c["tally"][:2]), "its running sums are not those of these exits"),
        (lambda c: c["tally"].mul_(-1), "its running sums are impossible"),
        (lambda c: c["tally"][1].add_(0.5), "its running sums are impossible"),
        (lambda c: c["tally"].zero_(), "its running sums are impossible"),
        (lambda c: c.update(surplus=1), "its keys are not those of a training state"),
        (lambda c: c["network"].update({"heads.0.2.bias": torch.zeros(4)}), "heads.0.2.bias is not a (3,) tensor"),
        (lambda c: c["network"]["heads.0.2.bias"].fill_(torch.nan), "heads.0.2.bias is not finite"),
        (lambda c: moment(c).update(exp_avg=torch.zeros(2, 2)), "the optimizer's exp_avg of parameter 0 has the shape"),
        (lambda c: moment(c)["exp_avg_sq"].fill_(torch.inf), "exp_avg_sq is not finite"),
        (lambda c: moment(c).update(step="x"), "the optimizer's step of parameter 0 is not a number"),
        (lambda c: c["optimizer"]["param_groups"][0].update(weight_decay=9), "its optimizer's weight_decay is 9"),
        (lambda c: c["optimizer"]["param_groups"][0].update(params=[0]), "its optimizer trains other parameters"),
    ],
)
def test_restore_state_refuses_impossible_values_and_changes_nothing(
    saved: Path, change: Callable[[Content], object], words: str
) -> None:
    assert words in refusal(changed(saved, change))
