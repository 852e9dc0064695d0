"""A step that is computed in parts, against the parts computed one by one in plain PyTorch."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from greenedge.training.optimizers import sgd
from greenedge.training.state import TrainingState, new_state
from tests.training.helpers import (
    GENTLE_SGD,
    TRANSFORM,
    differing,
    settings,
    tensors,
    tiny_network,
    tiny_state,
    train,
    train_split,
)


def without_norms(seed: int = 0) -> TrainingState:
    """A state of the tiny network, in which images do not influence each other."""
    network = tiny_network(seed, dropout=0.0)
    for block in (network.backbone[0], network.backbone[1]):
        block[1] = nn.Identity()
    return new_state(network, GENTLE_SGD(network), None)


@pytest.mark.parametrize(("batch_size", "parts"), [(10, 2), (10, 5), (40, 5)])  # 40: there are 36, uneven parts
def test_without_batch_norms_parts_change_nothing_but_the_rounding(prepared: Path, batch_size: int, parts: int) -> None:
    split = train_split(prepared)
    whole, divided = without_norms(), without_norms()
    (of_whole,) = train(whole, split, settings(batch_size=batch_size))
    (of_divided,) = train(divided, split, settings(batch_size=batch_size, accumulate=parts))
    for name, tensor in tensors(whole).items():
        torch.testing.assert_close(tensors(divided)[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    assert of_divided.loss == pytest.approx(of_whole.loss, rel=1e-5)
    assert of_divided.train_accuracy == of_whole.train_accuracy


def test_a_step_is_the_mean_of_its_parts(prepared: Path) -> None:
    split, parts = train_split(prepared), 4
    assert len(split) == 36
    seen: list[torch.Tensor] = []
    state = tiny_state(optimizer=partial(sgd, lr=0.05, momentum=0.0, nesterov=False, weight_decay=0.0), dropout=0.0)
    start = copy.deepcopy(state.network)
    recorded = settings(batch_size=36, accumulate=parts)
    state.network.backbone[0][0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    train(state, split, recorded)
    assert [len(each) for each in seen] == [9, 9, 9, 9]

    # The same by hand: every part from the same weights and the same running statistics.
    labels = by_image(split.read(split.rows), split.labels[split.rows].tolist())
    gradients, statistics = [], []
    for images in seen:
        network = copy.deepcopy(start).train()
        targets = torch.tensor([labels[key(image)] for image in images])
        early, final = network(images)
        cross_entropy = nn.functional.cross_entropy
        (cross_entropy(early, targets) + cross_entropy(final, targets)).backward()
        gradients.append({name: each.grad for name, each in network.named_parameters()})
        statistics.append({name: each for name, each in network.named_buffers() if each.is_floating_point()})
    for name, parameter in start.named_parameters():
        mean = torch.stack([each[name] for each in gradients]).mean(0)
        expected = (parameter - 0.05 * mean).detach()
        torch.testing.assert_close(dict(state.network.named_parameters())[name].detach(), expected, msg=name)
    moved = dict(state.network.named_buffers())
    for name in statistics[0]:
        expected = torch.stack([each[name] for each in statistics]).mean(0)
        torch.testing.assert_close(moved[name], expected, msg=name)
    counts = [each for name, each in moved.items() if name.endswith("num_batches_tracked")]
    assert [int(each) for each in counts] == [1] * len(counts)


def key(image: torch.Tensor) -> bytes:
    """Names a normalised image by its pixels."""
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (TRANSFORM.mean, TRANSFORM.std))
    return (image * deviation + mean).mul(255).round().to(torch.uint8).numpy().tobytes()


def by_image(images: np.ndarray, labels: list[int]) -> dict[bytes, int]:
    return {key(image): label for image, label in zip(TRANSFORM(torch.from_numpy(images)), labels, strict=True)}


def test_each_part_drops_other_features(prepared: Path) -> None:
    dropped: list[torch.Tensor] = []
    state = tiny_state(dropout=0.5)
    hook = lambda _module, _inputs, output: dropped.append(output == 0)  # noqa: E731
    state.network.backbone[0][3].register_forward_hook(hook)
    with torch.no_grad():  # all that is zero is dropped
        state.network.backbone[0][1].bias.fill_(100.0)
    train(state, train_split(prepared), settings(batch_size=36, accumulate=2, learning_rate=lambda *_: 0.0))
    first, second = dropped
    assert not torch.equal(first, second)
    assert 0.4 < first.double().mean() < 0.6


def test_a_stopped_run_in_parts_goes_on_to_the_same_weights(prepared: Path) -> None:
    split, chosen = train_split(prepared), settings(epochs=2, accumulate=2)
    unbroken, stopped = tiny_state(), tiny_state()
    train(unbroken, split, chosen)
    train(stopped, split, chosen, stop_after=2)
    assert differing(unbroken, stopped)
    train(stopped, split, chosen)
    assert differing(unbroken, stopped) == []
