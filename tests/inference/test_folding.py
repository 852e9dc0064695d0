from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from greenedge.inference.folding import fold_batch_norms
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import measure_shapes
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


class Residual(nn.Module):
    """Something besides the norm reads the convolution's output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images)
        return self.norm(features) + features.relu()


class SharedWeights(nn.Module):
    """A function uses the convolution's weights besides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(nn.functional.conv2d(images, self.conv.weight, padding=1)))


def recomputed_weights() -> nn.Module:
    """A hook makes the weights anew at each run, as weight norm did before parametrisations."""
    conv = nn.Conv2d(3, 3, 3, padding=1)
    original = conv.weight.detach().clone()
    conv.register_forward_pre_hook(lambda module, _: module.weight.data.copy_(2 * original))
    return nn.Sequential(conv, nn.BatchNorm2d(3))


class Head(nn.Module):
    """An early exit that begins with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm2d(3), nn.Linear(3, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.norm(features).mean(dim=(2, 3)))


def network_of(*blocks: nn.Module, heads: int = 0) -> MultiExitNetwork:
    """Blocks in a row, an early exit after each of the first `heads`."""
    torch.manual_seed(0)
    backbone = nn.Sequential(*blocks, nn.Linear(3, 4))
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), backbone[-1])
    named = [(str(index), block) for index, block in enumerate(blocks)]
    heads_after = [(index, Head()) for index in range(heads)]
    network = MultiExitNetwork(backbone, named, measure_shapes(named, 8), heads_after, classifier)
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
        (Residual(), 0),
        (SharedWeights(), 0),
        (recomputed_weights(), 0),
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


@pytest.mark.parametrize(
    ("blocks", "folded"),
    [
        ([nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()], 0),
        ([nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)], 0),  # both norms read the same tensor
        ([nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)), nn.ReLU()], 1),
    ],
)
def test_a_head_that_begins_with_a_norm_does_not_change_what_the_next_block_reads(
    blocks: list[nn.Module], folded: int
) -> None:
    network = network_of(*blocks, heads=1)
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        before = network(images)
        assert fold_batch_norms(network) == folded
        after = network(images)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "after", "size"),
    [
        ("resnet18", "layer1", 32),
        ("efficientnet_b0", "features.2", 32),
        ("vgg11_bn", "features.6", 32),
        ("alexnet", "features.2", 64),
        ("timm/tf_efficientnet_lite0", "blocks.2", 32),
    ],
)
@pytest.mark.parametrize("head", ["linear", "light", "paper"])
def test_folding_changes_no_familys_logits(backbone: str, after: str, size: int, head: str) -> None:
    network = random_network(backbone, after, head=head, size=size, spread=False)
    images = torch.randn(3, 3, size, size)
    with torch.no_grad():
        before = network(images)
        fold_batch_norms(network)
        after_folding = network(images)
    for found, expected in zip(after_folding, before, strict=True):
        scale = expected.abs().max().clamp_min(1)
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-4)
