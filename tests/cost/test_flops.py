from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.cost.flops import count_costs
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import score_outputs, sweep_all, sweep_thresholds
from greenedge.models.multi_exit import MultiExitNetwork, build_network


def network(backbone: str, image_size: int, head: str, *after: str) -> MultiExitNetwork:
    exits = tuple(ExitConfig(name, Component(head)) for name in after)
    torch.manual_seed(0)
    return build_network(ModelConfig(backbone, exits=exits), 200, image_size)


@pytest.mark.parametrize(
    ("backbone", "image_size", "exits", "plain"),
    [
        ("resnet50", 64, (0.2572, 0.5567, 0.6233), 0.3359),
        ("resnext50_32x4d", 64, (0.2546, 0.5641, 0.6353), 0.3479),
        ("resnet50", 128, (1.0288, 2.2268, 2.4919), 1.3423),
        ("resnext50_32x4d", 128, (1.0186, 2.2566, 2.5402), 1.3906),
    ],
)
def test_count_costs_of_the_published_networks_equals_the_reference(
    backbone: str, image_size: int, exits: tuple[float, ...], plain: float
) -> None:
    cost = count_costs(network(backbone, image_size, "paper", "layer1", "layer3"))
    assert tuple(round(each.gflops, 4) for each in cost.exits) == exits
    assert round(cost.plain_gflops, 4) == plain


def test_count_costs_of_a_head_equals_a_count_by_hand() -> None:
    cost = count_costs(network("resnet18", 64, "paper", "layer1")).exits[0]
    convs = 64 * 64 * 9 * 16 * 16 + 64 * 64 * 9 * 8 * 8
    linear = 64 * 8 * 8 * 200
    norms = 2 * (64 * 16 * 16 + 64 * 8 * 8)  # fvcore: scale and shift
    assert cost.head_gflops == pytest.approx((convs + linear + norms) / 1e9, rel=1e-9)


def test_count_costs_columns_add_up() -> None:
    cost = count_costs(network("vgg11_bn", 64, "light", "features.6", "features.13"))
    for before, this in zip(cost.exits, cost.exits[1:], strict=False):
        assert this.gflops == pytest.approx(before.gflops + this.trunk_gflops + this.head_gflops)
    assert cost.exits[0].alone_gflops == cost.exits[0].gflops
    assert cost.exits[-1].alone_gflops == pytest.approx(cost.plain_gflops)


def test_count_costs_counts_every_parameter_once() -> None:
    model = network("resnet18", 64, "light", "layer1", "layer3")
    cost = count_costs(model)
    assert cost.exits[-1].parameters == sum(p.numel() for p in model.parameters())
    assert cost.plain_parameters == sum(p.numel() for p in model.backbone.parameters())
    assert cost.exits[0].parameters == sum(
        p.numel()
        for n, p in model.named_parameters()
        if n.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1", "heads.0"))
    )


def test_count_costs_names_operators_without_a_count() -> None:
    cost = count_costs(network("efficientnet_b0", 64, "linear"))
    assert cost.uncounted["aten::silu_"] > 0
    assert "aten::_convolution" not in cost.uncounted


def test_count_costs_changes_neither_mode_nor_statistics() -> None:
    model = network("resnet18", 64, "light", "layer1").train()
    model.heads.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count_costs(model)
    assert model.training
    assert not model.heads[0].training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(("backbone", "head"), [("resnet18", "light"), ("resnext50_32x4d", "paper")])
def test_count_costs_equals_the_operations_of_a_routed_batch(backbone: str, head: str) -> None:
    model = network(backbone, 64, head, "layer1", "layer3").eval()
    images = torch.randn(12, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    images *= torch.linspace(0.1, 4, 12).view(-1, 1, 1, 1)  # so that their confidences differ
    for index, head_module in enumerate(model.heads):
        head_module[-1].weight.data *= 5 * 4**index  # an untrained head is never confident
    criterion = CRITERIA["entropy"]
    table = count_costs(model, operators={"conv", "linear"})
    with torch.inference_mode():
        logits = torch.stack(model(images)).numpy()
        outputs = ExitOutputs(logits, np.zeros(12, np.int64), np.array([each.gflops for each in table.exits]))
        scores = score_outputs(outputs, criterion)
        limits = sweep_all(scores).thresholds
        between = (limits[1:] + limits[:-1]) / 2  # far from any image's own score
        point = max(sweep_thresholds(scores, between).points(), key=lambda p: min(p.exit_shares))
        assert min(point.exit_shares) > 0  # otherwise the test would show little
        threshold = point.thresholds[0]

        with FlopCounterMode(display=False) as counter:
            features = images
            for segment in model.segments:
                features, logits = segment(features)
                uncertainty = criterion.uncertainty(logits.numpy())
                features = features[torch.from_numpy(uncertainty >= threshold)]
    executed = counter.get_total_flops() / 2 / 1e9  # torch counts a multiply-add as 2
    assert executed / 12 == pytest.approx(point.gflops, rel=1e-9)


def test_count_costs_of_a_transformer_block_equals_a_count_by_hand() -> None:
    pytest.importorskip("timm")
    block = count_costs(network("timm/deit_tiny_patch16_224", 64, "linear", "blocks.0", "blocks.1")).exits[1]
    tokens, width = 4 * 4 + 1, 192
    linear = tokens * width * width * (3 + 1 + 4 + 4)  # queries, keys and values; the projection; the two of the MLP
    attention = 2 * tokens * tokens * width  # queries by keys, and weights by values, over all heads
    norms = 2 * 5 * tokens * width  # fvcore: five for a layer norm with scale and shift
    assert block.trunk_gflops == pytest.approx((linear + attention + norms) / 1e9, rel=1e-9)
