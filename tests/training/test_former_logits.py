"""Heads that see the logits of the exit before: trained on images and on kept features, and interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import measure_shapes
from greenedge.training.feature_pass import FeaturePass, load_or_compute_features
from greenedge.training.kept_features import FeatureBatch, HeadsOnFeatures, KeptFeatures, kept_logits
from greenedge.training.optimizers import adamw
from greenedge.training.state import TrainingState, new_state, restore_state, save_state
from tests.training.helpers import TRANSFORM, differing, settings, train, train_split


def chained(seed: int = 0) -> MultiExitNetwork:
    """Three early exits, of which the second and the third see the logits of the one before; 3 classes."""
    torch.manual_seed(seed)
    layers = [
        nn.Sequential(nn.Conv2d(8 if index else 3, 8, 3, stride=2 - index % 2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        for index in range(4)
    ]
    blocks: list[tuple[str, nn.Module]] = [(str(index), layer) for index, layer in enumerate(layers)]
    *heads, final = [nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)) for _ in range(4)]
    backbone = nn.Sequential(*layers, final)
    network = MultiExitNetwork(backbone, blocks, measure_shapes(blocks, 16), list(enumerate(heads)), final)
    network.show_former_logits([1, 2], 3)
    return network


def state_of(network: MultiExitNetwork, **options: Any) -> TrainingState:
    return new_state(network, adamw(network, lr=0.05, **options), 0.9)


def test_resumed_training_with_former_logits_equals_an_uninterrupted_one(prepared: Path, tmp_path: Path) -> None:
    split, setting = train_split(prepared), settings(epochs=3, exit_weights=(1.0,) * 4, trunk_only_epochs=1)
    unbroken, first, second = (state_of(chained(seed)) for seed in (0, 0, 9))
    train(unbroken, split, setting)
    train(first, split, setting, stop_after=4)
    save_state(tmp_path / "state.pt", first)
    restore_state(tmp_path / "state.pt", second, steps_per_epoch=3)
    train(second, split, setting)
    assert differing(unbroken, second) == []
    assert all(each.linear.weight.any() for each in unbroken.network.formers.values())  # type: ignore[union-attr, operator]


def test_trunk_lr_does_not_slow_former_logits() -> None:
    network = chained()
    optimizer = adamw(network, 0.2)
    factors = {id(each): group["lr_factor"] for group in optimizer.param_groups for each in group["params"]}
    assert {factors[id(each)] for each in network.formers.parameters()} == {1.0}


def kept_of(network: MultiExitNetwork, prepared: Path, folder: Path) -> KeptFeatures:
    split = train_split(prepared)
    *features, final = load_or_compute_features(network, split, FeaturePass(TRANSFORM, (0, 1, 2)), folder)
    return KeptFeatures(split.labels[split.rows], tuple(features), final)


@pytest.mark.parametrize("exits", [None, (0,), (2,), (1, 3), (0, 2, 3)])
def test_heads_on_features_give_the_networks_logits(
    prepared: Path, tmp_path: Path, exits: tuple[int, ...] | None
) -> None:
    network, split = chained().eval(), train_split(prepared)
    nn.init.normal_(network.formers["1"].linear.weight)  # type: ignore[union-attr, arg-type]
    nn.init.normal_(network.formers["2"].linear.weight)  # type: ignore[union-attr, arg-type]
    images = TRANSFORM(torch.from_numpy(split.images[split.rows]))
    with torch.no_grad():
        features, final = network.block_features(images, (0, 1, 2), lambda each: each.clone())
        batch = FeatureBatch(tuple(features), final, torch.zeros(len(images), dtype=torch.int64))
        for one, other in zip(HeadsOnFeatures(network)(batch, exits), network(images, exits), strict=True):
            torch.testing.assert_close(one, other)
        evaluated = kept_logits(network, kept_of(network, prepared, tmp_path / "kept"))
        np.testing.assert_allclose(evaluated, torch.stack(network(images)), rtol=1e-2, atol=1e-2)


def test_fit_on_kept_features_with_former_logits_equals_a_hand_written_loop(prepared: Path, tmp_path: Path) -> None:
    network, twin, split = chained(), chained().eval(), train_split(prepared)
    network.backbone.requires_grad_(requires_grad=False)
    state = state_of(network)
    kept = kept_of(network, prepared, tmp_path / "kept")
    records = train(
        state, split, settings(epochs=4, batch_size=36, kept=kept, frozen=((4, 4),), exit_weights=(1.0,) * 4)
    )

    images, labels = TRANSFORM(torch.from_numpy(split.images[split.rows])), torch.from_numpy(split.labels[split.rows])
    with torch.no_grad():
        features, final = twin.block_features(images, (0, 1, 2), lambda each: each.half().float())
    linears = [head[2] for head in twin.heads]  # type: ignore[index]
    weights = [torch.zeros(3, 3, requires_grad=True) for _ in range(2)]
    decaying = [*(each.weight for each in linears), *weights]
    optimizer = optim.AdamW(
        [{"params": decaying, "weight_decay": 0.05}, {"params": [each.bias for each in linears]}],
        lr=0.05,
        weight_decay=0.0,
    )
    for record in records:
        logits = [
            F.linear(each.mean((2, 3)), own.weight, own.bias) for each, own in zip(features, linears, strict=True)
        ]
        for index in (1, 2):
            logits[index] = logits[index] + F.layer_norm(logits[index - 1].detach(), (3,)) @ weights[index - 1].T
        loss = torch.stack([F.cross_entropy(each, labels) for each in logits]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert record.loss == pytest.approx((loss + F.cross_entropy(final, labels)).item(), rel=1e-3)
    for index in (1, 2):
        found = network.formers[str(index)].linear.weight  # type: ignore[union-attr]
        torch.testing.assert_close(found, weights[index - 1], rtol=1e-2, atol=2e-3)
