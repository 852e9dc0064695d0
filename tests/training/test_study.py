from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from greenedge.data.loader import InputTransform
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.errors import UsageError
from greenedge.inference.collect import collect_logits
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.study import study_networks
from tests.inference.helpers import random_network

READ = InputTransform(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def network() -> MultiExitNetwork:
    return random_network("resnet18", "layer1")


@pytest.fixture(scope="module")
def splits(prepared: Path) -> tuple[PreparedSplit, PreparedSplit]:
    data = open_prepared(prepared)
    return data.split("train"), data.split("val")


def test_a_network_is_like_itself_and_its_channels_in_another_order(
    network: MultiExitNetwork, splits: tuple[PreparedSplit, PreparedSplit]
) -> None:
    train, shown = splits
    turned = copy.deepcopy(network)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    stem = turned.backbone
    with torch.no_grad():  # the stem's channels in another order: the same features to whoever does not mind the order
        stem.conv1.weight.copy_(network.backbone.conv1.weight[order])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(stem.bn1, name).copy_(getattr(network.backbone.bn1, name)[order])
    found = study_networks([network, turned], [READ, READ], train, shown)
    assert found.blocks == tuple(name for name, _ in network.blocks)
    np.testing.assert_allclose(found.similarity[0, 0], 1)
    assert found.similarity[0, 1, 0] == pytest.approx(1)
    assert found.similarity[0, 1, -1] < 0.999  # what follows was made for the other order

    logits = collect_logits(network, shown, READ)
    labels = shown.labels[shown.rows]
    own, other = found.networks
    np.testing.assert_allclose(own.accuracy, (logits.argmax(axis=2) == labels).mean(axis=1))
    # A stitch of a network to itself is the identity, and one of its turned stem turns it back.
    fitted = len(train) * 8 * 8, len(train) * 4 * 4, len(train) * 2 * 2, len(train)  # vectors after each stage
    wide_enough = [count > channels for count, channels in zip(fitted, (64, 128, 256, 512), strict=True)]
    enough = [True, *np.repeat(wide_enough, 2).tolist()]
    assert np.isnan(own.stitched_accuracy).tolist() == [not each for each in enough]
    np.testing.assert_allclose(own.stitched_accuracy[enough], own.accuracy[-1])
    assert other.stitched_accuracy[0] == pytest.approx(own.accuracy[-1])
    assert own.effective_rank[0] == pytest.approx(other.effective_rank[0], rel=1e-6)
    assert own.exits == ("layer1.1", "layer4.1")


def test_networks_of_other_blocks_are_refused(
    network: MultiExitNetwork, splits: tuple[PreparedSplit, PreparedSplit]
) -> None:
    with pytest.raises(UsageError, match="network 2 does not have the blocks of the first one"):
        study_networks([network, random_network("resnet34", "layer1")], [READ, READ], *splits)
