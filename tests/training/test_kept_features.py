"""Heads trained on kept features against the same training with the frozen backbone run anew each time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import optim
from torch.nn import functional as F

from greenedge.augment import AUGMENTATIONS
from greenedge.data.prepared import PreparedSplit
from greenedge.errors import DataError, TrainingError
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training import feature_pass
from greenedge.training.feature_pass import FeaturePass, PassStopped, load_or_compute_features
from greenedge.training.kept_features import KeptFeatures, kept_logits
from greenedge.training.objectives import SelfDistillation
from greenedge.training.optimizers import adamw, sgd
from greenedge.training.state import TrainingState, new_state
from tests.training.helpers import TRANSFORM, settings, tiny_network, train, train_split

PASS = FeaturePass(TRANSFORM, (0,))


def kept_of(network: MultiExitNetwork, split: PreparedSplit, folder: Path, **changes: Any) -> KeptFeatures:
    features, *others = load_or_compute_features(network, split, dataclasses.replace(PASS, **changes), folder)
    return KeptFeatures(split.labels[split.rows], (features,), *others)


def frozen_state(ema_decay: float | None = None) -> TrainingState:
    network = tiny_network()
    network.backbone.requires_grad_(requires_grad=False)
    return new_state(network, adamw(network, lr=0.05), ema_decay)


def test_load_or_compute_features_equal_a_direct_forward(prepared: Path, tmp_path: Path) -> None:
    network, split = tiny_network().eval(), train_split(prepared)
    kept = kept_of(network, split, tmp_path / "kept")
    with torch.no_grad():
        images = TRANSFORM(torch.from_numpy(split.images[split.rows]))
        features = network.backbone[0](images)
        logits = network(images)
    np.testing.assert_array_equal(kept.features[0], features.half().numpy())
    np.testing.assert_array_equal(kept.final_logits, logits[-1].numpy())
    pooled = load_or_compute_features(network, split, dataclasses.replace(PASS, pooled=True), tmp_path / "pooled")
    np.testing.assert_array_equal(pooled[0], features.mean(dim=(2, 3)).half().numpy())
    evaluated = kept_logits(network, kept)
    np.testing.assert_allclose(evaluated[0], logits[0].numpy(), atol=2e-3)
    np.testing.assert_array_equal(evaluated[1], logits[1].numpy())


def test_load_or_compute_features_runs_again_only_for_other_inputs(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, split, folder = tiny_network(), train_split(prepared), tmp_path / "kept"
    passes: list[int] = []
    computed = feature_pass._pieces
    monkeypatch.setattr(feature_pass, "_pieces", lambda *given: passes.append(1) or computed(*given))

    def computed_again(**changes: Any) -> bool:
        before = len(passes)
        kept_of(network, changes.pop("split", split), folder, **changes)
        return len(passes) > before

    flips = {"augment": (AUGMENTATIONS["horizontal_flip"],), "augment_names": "flips"}
    assert computed_again()
    assert not computed_again()
    assert computed_again(transform=dataclasses.replace(TRANSFORM, mean=(0.5, 0.5, 0.5)))
    assert computed_again(split=dataclasses.replace(split, rows=split.rows[1:]))
    assert computed_again(**flips)
    assert computed_again(**flips, seed=1)
    assert computed_again(**flips, seed=1, views=2)
    assert not computed_again(**flips, seed=1, views=2)
    with torch.no_grad():
        network.backbone[2].bias += 1
    assert computed_again(**flips, seed=1, views=2)
    with torch.no_grad():
        network.heads[0][-1].bias += 1  # of a head, which the features do not depend on
    assert not computed_again(**flips, seed=1, views=2)


def test_kept_features_views_are_draws_of_the_augmentations_that_take_turns(prepared: Path, tmp_path: Path) -> None:
    network, split = tiny_network().eval(), train_split(prepared)
    erased = (AUGMENTATIONS["cutout"],)
    kept = kept_of(network, split, tmp_path / "kept", views=2, augment=erased, augment_names="cutout")
    order = torch.tensor([5, 0, 9])
    views = [next(kept.batches(order, 3, epoch)).features[0] for epoch in range(4)]
    assert not torch.equal(views[0], views[1])
    assert torch.equal(views[0], views[2])
    assert torch.equal(views[1], views[3])
    assert kept.views == 2
    assert len(kept) == len(split)
    np.testing.assert_array_equal(views[1].half().numpy(), kept.features[0][len(split) :][order.numpy()])


@pytest.mark.parametrize("objective", ["labels", "distillation"])
def test_fit_on_kept_features_equals_a_hand_written_loop(prepared: Path, tmp_path: Path, objective: str) -> None:
    split, state, twin = train_split(prepared), frozen_state(), tiny_network().eval()
    kept = kept_of(state.network, split, tmp_path / "kept")
    chosen = {"objective": SelfDistillation(share=0.25, temperature=3.0)} if objective == "distillation" else {}
    blank = dataclasses.replace(split, images=np.zeros_like(split.images), digests=None)  # the images are not read
    records = train(state, blank, settings(epochs=3, batch_size=36, kept=kept, frozen=((2, 3),), **chosen))

    images, labels = TRANSFORM(torch.from_numpy(split.images[split.rows])), torch.from_numpy(split.labels[split.rows])
    optimizer = optim.AdamW(
        [{"params": [twin.heads[0][2].weight], "weight_decay": 0.05}, {"params": [twin.heads[0][2].bias]}],
        lr=0.05,
        weight_decay=0.0,
    )
    for record in records:
        early, final = twin(images)
        loss = F.cross_entropy(early, labels)
        if objective == "distillation":
            teacher = torch.softmax(final.detach() / 3, 1)
            divergence = (teacher * (teacher.log() - torch.log_softmax(early / 3, 1))).sum(1).mean()
            loss = 0.75 * loss + 0.25 * 9 * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert record.loss == pytest.approx((loss + F.cross_entropy(final, labels)).item(), rel=1e-3)
        assert record.train_accuracy[1] == pytest.approx(float((final.argmax(1) == labels).double().mean()))
    torch.testing.assert_close(state.network.heads[0][2].weight, twin.heads[0][2].weight, rtol=1e-2, atol=2e-3)


def test_fit_on_kept_features_leaves_the_final_exit_bit_identical(prepared: Path, tmp_path: Path) -> None:
    split, state = train_split(prepared), frozen_state(ema_decay=0.9)
    before = tiny_network().state_dict()
    kept = kept_of(state.network, split, tmp_path / "kept")
    train(state, split, settings(epochs=2, kept=kept, frozen=((2, 2),), exit_weights=(1.0, 3.0)))
    for network in (state.network, state.evaluated):
        after = network.state_dict()
        assert all(torch.equal(after[name], each) for name, each in before.items() if name.startswith("backbone."))
        assert any(not torch.equal(after[name], each) for name, each in before.items() if name.startswith("heads."))


def test_load_or_compute_features_can_be_stopped_and_then_keeps_nothing(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(PassStopped):
        load_or_compute_features(tiny_network(), train_split(prepared), PASS, tmp_path / "a" / "kept", lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_load_or_compute_features_refuses_numbers_beyond_float16(prepared: Path, tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.backbone[0][1].bias += 1e5
    with pytest.raises(TrainingError, match="the block 0 gives numbers that are not finite or above 65504"):
        kept_of(network, train_split(prepared), tmp_path / "kept")


def test_load_or_compute_features_says_what_does_not_fit_on_the_disk(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_pass, "free_bytes", lambda _folder: 1000)
    with pytest.raises(DataError, match=r"kept: the features of 36 images in 3 views take 0\.00 GB, and 0\.00 GB are"):
        kept_of(tiny_network(), train_split(prepared), tmp_path / "kept", views=3)


def test_sgd_of_a_frozen_network_knows_its_heads_alone() -> None:
    network = tiny_network()
    network.backbone.requires_grad_(requires_grad=False)
    known = [parameter for group in sgd(network).param_groups for parameter in group["params"]]
    assert {id(each) for each in known} == {id(each) for each in network.heads.parameters()}
