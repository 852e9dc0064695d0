"""One small network, some images, and what it says of them at every exit; for reading only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import all_logits, random_network


@pytest.fixture(scope="module")
def network() -> MultiExitNetwork:
    return random_network("resnet18", "layer1", "layer3")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(23, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def logits(network: MultiExitNetwork, images: Tensor) -> Tensor:
    return all_logits(network, images)
