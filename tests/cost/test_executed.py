from __future__ import annotations

import pytest
import torch
from torch import nn

from greenedge.cost.executed import COUNTED_OPERATORS, executed_gflops
from greenedge.cost.flops import count_costs
from greenedge.exits.policy import shared_policy
from greenedge.inference import Engine
from greenedge.inference.packing import PackedConv2d, can_pack
from tests.inference.helpers import random_network


def test_executed_gflops_of_a_convolution_equal_a_count_by_hand() -> None:
    conv = nn.Conv2d(3, 8, 5, stride=2, padding=2, groups=1)
    # 8 channels of 10 x 10 positions, each 3 x 5 x 5 multiply-adds, for 4 images.
    assert executed_gflops(lambda: conv(torch.zeros(4, 3, 20, 20))) == pytest.approx(4 * 8 * 100 * 75 / 1e9)


@pytest.mark.skipif(not can_pack(torch.float32), reason="this PyTorch has no packed convolutions")
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_executed_gflops_count_a_packed_convolution_like_a_plain_one(groups: int) -> None:
    conv = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups, bias=False)
    packed = PackedConv2d(conv, [4, 16, 16], batch=2)
    images = torch.randn(2, 4, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(packed(images), conv(images), rtol=1e-5, atol=1e-5)
        assert executed_gflops(lambda: packed(images)) == executed_gflops(lambda: conv(images)) > 0


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("threshold", "exit_index"), [(0.0, 2), (1e9, 0)])
def test_executed_gflops_of_the_engine_equal_the_static_table(
    precision: str, threshold: float, exit_index: int
) -> None:
    network = random_network("resnet18", "layer1", "layer3")
    engine = Engine(network, shared_policy("entropy", threshold, 2), precision=precision)  # type: ignore[arg-type]
    table = count_costs(network, COUNTED_OPERATORS).exits[exit_index].gflops
    images = torch.randn(5, 3, 32, 32)
    assert executed_gflops(lambda: engine.predict(images)) / 5 == pytest.approx(table, rel=1e-6)
