from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim

from greenedge.config import Component, instantiate
from greenedge.errors import ConfigError
from greenedge.training.losses import balanced_weights, bce, cross_entropy
from greenedge.training.optimizers import OPTIMIZERS
from tests.training.helpers import tiny_network


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_minus_log_probability(smoothing: float) -> None:
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    targets = (1 - smoothing) * torch.eye(4, dtype=torch.float64)[labels] + smoothing / 4
    log_probability = logits - logits.exp().sum(1, keepdim=True).log()
    expected = -(targets * log_probability).sum(1).float()
    torch.testing.assert_close(cross_entropy(logits, labels, label_smoothing=smoothing), expected)
    soft = torch.eye(4)[labels]
    torch.testing.assert_close(cross_entropy(logits, soft, label_smoothing=smoothing), expected)


def test_cross_entropy_is_computed_in_float32_from_bf16_logits() -> None:
    logits = torch.randn(3, 4).bfloat16()
    loss = cross_entropy(logits, torch.tensor([0, 1, 2]))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cross_entropy(logits.float(), torch.tensor([0, 1, 2])))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_is_the_mean_of_yes_no_questions(smoothing: float) -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    yes = logits.double().sigmoid()
    soft = torch.eye(4)[labels]
    targets = (1 - smoothing) * soft.double() + smoothing / 4
    expected = -(targets * yes.log() + (1 - targets) * (1 - yes).log()).sum(1) / 4
    torch.testing.assert_close(bce(logits, labels, label_smoothing=smoothing), expected.float())
    torch.testing.assert_close(bce(logits, soft, label_smoothing=smoothing), expected.float())
    assert bce(logits.bfloat16(), labels).dtype == torch.float32


def test_balanced_weights_make_all_classes_with_images_count_alike() -> None:
    labels = np.array([0, 0, 0, 0, 0, 2, 2, 2, 3, 3])
    weights = balanced_weights(labels, 5).double().numpy()
    shares = [weights[label] * (labels == label).sum() for label in range(5)]
    assert shares == pytest.approx([10 / 3, 0, 10 / 3, 10 / 3, 0])
    assert weights[labels].mean() == pytest.approx(1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_decay_only_matrices_and_kernels(name: str) -> None:
    network = tiny_network()
    frozen = next(iter(network.backbone.parameters())).requires_grad_(False)
    optimizer = OPTIMIZERS[name](network, weight_decay=0.3)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {
        id(p): 0.0 if n.endswith("bias") or p.ndim == 1 else 0.3
        for n, p in network.named_parameters()
        if p is not frozen
    }
    assert decay == expected
    assert {0.0, 0.3} == set(decay.values())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(expected)


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("adam", optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
        ("adamw", optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
        ("sgd", optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
        ("sgd", optim.SGD, {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
    ],
)
def test_optimizers_make_the_same_steps_as_torchs(
    name: str, theirs: type[optim.Optimizer], options: dict[str, Any]
) -> None:
    ours, other = nn.Linear(5, 4), nn.Linear(5, 4)
    other.load_state_dict(ours.state_dict())
    by_hand: list[dict[str, Any]] = [
        {"params": [other.weight]},
        {"params": [other.bias], "weight_decay": 0.0},
    ]
    pairs = ((OPTIMIZERS[name](ours, **options), ours), (theirs(by_hand, foreach=False, **options), other))  # type: ignore[call-arg]
    start = ours.weight.detach().clone()
    for step in range(3):
        images = torch.randn(7, 5, generator=torch.Generator().manual_seed(step))
        for optimizer, network in pairs:
            optimizer.zero_grad()
            network(images).square().sum().backward()
            optimizer.step()
    assert not torch.allclose(ours.weight, start)
    torch.testing.assert_close(ours.weight, other.weight)
    torch.testing.assert_close(ours.bias, other.bias)


def test_sgd_refuses_nesterov_without_momentum() -> None:
    part = Component("sgd", {"momentum": 0.0})
    with pytest.raises(ConfigError, match=r"^sgd: nesterov needs a momentum above 0; set nesterov: false$"):
        instantiate(part, OPTIMIZERS, nn.Linear(2, 2))


def test_optimizers_refuse_a_learning_rate_of_zero_and_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"adamw\.lr: .*above 0"):
        instantiate(Component("adamw", {"lr": 0.0}), OPTIMIZERS, nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"there is no 'adamm'; did you mean 'adam"):
        instantiate(Component("adamm"), OPTIMIZERS, nn.Linear(2, 2))
