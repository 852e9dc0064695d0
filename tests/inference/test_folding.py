from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from greenedge.inference.folding import fold_batch_norms
from greenedge.models.family import Family
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import random_network


class Twice(nn.Module):
    """One convolution that is run twice, with another norm after each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.conv(self.first(self.conv(images))))


class InPlace(nn.Module):
    """An activation that writes into the convolution's output before the norm reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.act(self.conv(images)))


class Standardised(nn.Conv2d):
    """A convolution that changes its weights on the way."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.conv2d(images, self.weight / self.weight.norm(), self.bias, padding=1)


def network_of(block: nn.Module) -> MultiExitNetwork:
    torch.manual_seed(0)
    backbone = nn.Sequential(block, nn.Linear(3, 4))
    family = Family(lambda _: [], lambda net, features: net[1](features.mean(dim=(2, 3))), "1")
    network = MultiExitNetwork(backbone, family, [("0", block)], [], image_size=8)
    with torch.no_grad():
        for norm in [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]:
            if norm.running_mean is None:
                continue
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize(
    ("block", "folded"),
    [
        (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)), 1),
        (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, affine=False)), 1),
        (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(3)), 0),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)), 0),
        (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, track_running_stats=False)), 0),
        (Twice(), 0),
        (InPlace(), 0),
        (nn.Sequential(Standardised(3, 3, 3), nn.BatchNorm2d(3)), 0),
    ],
)
def test_only_norms_that_read_a_convolution_are_folded_and_nothing_changes(block: nn.Module, folded: int) -> None:
    network = network_of(block)
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        (before,) = network(images)
        assert fold_batch_norms(network) == folded
        (after,) = network(images)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backbone", "norms"), [("resnet18", 20), ("timm/tf_efficientnet_lite0", 49)])
def test_every_norm_of_a_known_network_is_folded(backbone: str, norms: int) -> None:
    network = random_network(backbone)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == norms
    assert fold_batch_norms(network) == norms
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
