from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, nn
from torch.nn import functional as F

from greenedge.augment import AUGMENTATIONS
from greenedge.data.loader import Batch, InputTransform
from greenedge.errors import TrainingError
from greenedge.training.optimizers import adamw, sgd
from tests.training.helpers import differing, flat, settings, tiny_state, train, train_split

AUGMENT = tuple(AUGMENTATIONS[name] for name in ("horizontal_flip", "pad_and_crop", "cutmix", "mixup"))
PLAIN = partial(sgd, lr=0.05, momentum=0.0, nesterov=False, weight_decay=0.0)


@pytest.mark.parametrize("augment", [(), AUGMENT], ids=["plain", "augmented"])
def test_fit_depends_on_the_seed_alone(prepared: Path, augment: Any) -> None:
    states = [tiny_state() for _ in range(3)]
    for state, seed in zip(states, (5, 5, 6), strict=True):
        torch.rand(3)
        train(state, train_split(prepared), settings(seed=seed, augment=augment))
    assert differing(states[0], states[1]) == []
    assert differing(states[0], states[2])


def test_fit_first_step_equals_a_hand_written_one(prepared: Path) -> None:
    split, rate = train_split(prepared), 0.05
    state = tiny_state(optimizer=PLAIN, dropout=0.0)
    twin = tiny_state(dropout=0.0).network.train()
    transform = InputTransform(64, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    setting = settings(batch_size=36, exit_weights=(0.25, 2.0), transform=transform)
    (record,) = train(state, split, setting)

    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    images = torch.from_numpy((split.images / 255 - mean) / std).float()
    labels = torch.from_numpy(split.labels)
    logits = twin(images)
    first, second = (-F.log_softmax(each, 1)[torch.arange(36), labels].mean() for each in logits)
    loss = 0.25 * first + 2 * second
    loss.backward()

    assert record.loss == pytest.approx(loss.item(), rel=1e-5)
    assert record.train_accuracy == tuple((z.argmax(1) == labels).double().mean().item() for z in logits)
    assert (record.epoch, record.train_labels, record.learning_rate) == (1, "true", rate)
    for ours, theirs in zip(state.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - rate * theirs.grad, rtol=1e-4, atol=1e-6)  # type: ignore[operator]


def test_fit_uses_each_image_at_most_once_per_epoch_in_a_new_order(prepared: Path) -> None:
    seen: list[int] = []
    split = train_split(prepared)
    prints = [int(image.astype(np.int64).sum()) for image in split.images]
    assert len(set(prints)) == 36

    def watch(batch: Batch, _: Generator) -> Batch:
        seen.extend(prints.index(int(image.long().sum())) for image in batch.images)
        return batch

    train(tiny_state(), split, settings(epochs=2, augment=(watch,)))
    first, second = seen[:30], seen[30:]
    assert len(first) == len(set(first)) == len(second) == len(set(second)) == 30
    assert first != second


def test_fit_sets_the_learning_rate_of_every_step_by_even_progress(prepared: Path) -> None:
    asked: list[float] = []

    def rate(progress: float, _: Sequence[float]) -> float:
        asked.append(progress)
        return progress / 100

    state = tiny_state()
    records = train(state, train_split(prepared), settings(epochs=2, learning_rate=rate))
    assert asked == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert [r.learning_rate for r in records] == pytest.approx([2 / 600, 5 / 600])
    assert {group["lr"] for group in state.optimizer.param_groups} == {asked[-1] / 100}


def test_fit_clips_the_norm_of_the_whole_gradient(prepared: Path) -> None:
    moved = []
    for limit in (None, 0.01):
        state = tiny_state(optimizer=PLAIN)
        before = flat(state.network.parameters())
        train(state, train_split(prepared), settings(batch_size=36, gradient_clip_norm=limit))
        moved.append(float((flat(state.network.parameters()) - before).norm()) / 0.05)  # the gradient's norm
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(0.01, rel=1e-3)


def test_fit_does_not_train_an_exit_of_weight_zero(prepared: Path) -> None:
    state = tiny_state(optimizer=PLAIN)
    before = flat(state.network.heads.parameters())
    train(state, train_split(prepared), settings(exit_weights=(0.0, 1.0)))
    assert torch.equal(flat(state.network.heads.parameters()), before)


def test_fit_counts_mixed_labels_by_the_dominant_one(prepared: Path) -> None:
    def soften(batch: Batch, _: Generator) -> Batch:
        one_hot = F.one_hot(batch.targets, 3).float()
        return dataclasses.replace(batch, targets=0.6 * one_hot + 0.4 * one_hot.roll(1, dims=1))

    records = [
        train(tiny_state(), train_split(prepared), settings(augment=augment, learning_rate=lambda *_: 0.0))[0]
        for augment in ((), (soften,), (AUGMENTATIONS["mixup"],))
    ]
    assert [record.train_labels for record in records] == ["true", "dominant", "dominant"]
    assert records[1].train_accuracy == records[0].train_accuracy
    assert records[1].loss != records[0].loss


@pytest.mark.parametrize("batch_size", [3, 36])  # noticed within an epoch, and at its end
def test_fit_stops_at_a_loss_that_is_not_finite(prepared: Path, batch_size: int) -> None:
    state = tiny_state()
    with torch.no_grad():
        next(iter(state.network.parameters())).fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"^the loss is no longer finite; [^\n]* with a lower learning rate, [^\n]*$"
    ):
        train(state, train_split(prepared), settings(batch_size=batch_size))
    assert state.epoch == 0


def test_fit_does_nothing_after_the_last_epoch(prepared: Path) -> None:
    state = tiny_state()
    assert len(train(state, train_split(prepared), settings(epochs=2))) == 2
    before = flat(iter(state.network.state_dict().values()))
    assert train(state, train_split(prepared), settings(epochs=2)) == []
    assert torch.equal(flat(iter(state.network.state_dict().values())), before)


def test_fit_learns_a_few_images_by_heart(prepared: Path) -> None:
    state = tiny_state(width=32, dropout=0.0, optimizer=partial(adamw, lr=0.01))
    transform = InputTransform(64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    setting = settings(epochs=25, batch_size=12, transform=transform, learning_rate=lambda p, _: 0.02 * (1 - p))
    records = train(state, train_split(prepared), setting)
    assert records[0].train_accuracy[-1] < 0.7
    assert records[-1].train_accuracy[-1] > 0.9
    assert isinstance(state.evaluated, nn.Module)


def test_fit_trains_the_compiled_network(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def spy(network: nn.Module) -> nn.Module:
        compiled.append(network)
        network.register_forward_pre_hook(lambda *_: compiled.append("ran"))
        return network

    monkeypatch.setattr(torch, "compile", spy)
    state = tiny_state()
    train(state, train_split(prepared), settings())
    assert compiled == []
    train(state, train_split(prepared), settings(epochs=2, compile=True))
    assert compiled == [state.network, "ran", "ran", "ran"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # warnings of the compiler
def test_fit_compiled_equals_uncompiled_except_for_rounding(prepared: Path) -> None:
    eager, compiled = tiny_state(dropout=0), tiny_state(dropout=0)
    train(eager, train_split(prepared), settings())
    train(compiled, train_split(prepared), settings(compile=True))
    torch.testing.assert_close(
        flat(compiled.network.parameters()), flat(eager.network.parameters()), rtol=1e-3, atol=1e-4
    )


def test_enough_memory_turns_out_of_memory_into_one_sentence(prepared: Path) -> None:
    def hungry(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    with pytest.raises(TrainingError, match="there is not enough memory for 10 images at a time"):
        train(tiny_state(), train_split(prepared), settings(loss=hungry))


def test_enough_memory_passes_other_errors_on(prepared: Path) -> None:
    def broken(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(tiny_state(), train_split(prepared), settings(loss=broken))
