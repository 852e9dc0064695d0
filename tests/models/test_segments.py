from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import Segment, measure_shapes
from tests.models.test_multi_exit import images, network


@pytest.fixture(scope="module")
def model() -> MultiExitNetwork:
    return network("resnet18", "layer1", "layer3").eval()


def test_segments_end_at_the_exits_and_hold_no_weights_but_those_they_use(model: MultiExitNetwork) -> None:
    assert [(each.span, each.exit_index) for each in model.segments] == [
        ("stem to layer1.1", 0),
        ("layer2.0 to layer3.1", 1),
        ("layer4.0 to layer4.1", 2),
    ]
    assert [each.input_shape for each in model.segments] == [(3, 32, 32), (64, 8, 8), (256, 2, 2)]
    held = [parameter for segment in model.segments for parameter in segment.parameters()]
    assert len(held) == len(set(held)) == len(list(model.parameters()))
    assert set(held) == set(model.parameters())
    assert not any(isinstance(module, Segment) for module in model.modules())


def test_split_cuts_where_the_resolution_changes(model: MultiExitNetwork) -> None:
    parts = [part for segment in model.segments for part in segment.split()]
    assert [(part.span, part.input_shape, part.exit_index) for part in parts] == [
        ("stem to layer1.1", (3, 32, 32), 0),
        ("layer2.0 to layer2.1", (64, 8, 8), None),
        ("layer3.0 to layer3.1", (128, 4, 4), 1),
        ("layer4.0 to layer4.1", (256, 2, 2), 2),
    ]
    assert [part.after for part in parts if part.exit_index is not None] == [each.after for each in model.segments]


@pytest.mark.parametrize(
    ("backbone", "after"), [("resnet18", "layer3"), ("vgg11_bn", "features.6"), ("efficientnet_b0", "features.4.1")]
)
def test_split_segments_in_a_row_give_what_the_network_gives(backbone: str, after: str) -> None:
    model = network(backbone, after).eval()
    features: Tensor = images(32)
    found = []
    with torch.no_grad():
        expected = model(features)
        for part in [part for segment in model.segments for part in segment.split()]:
            assert features.shape[1:] == part.input_shape
            features, logits = part(features)
            assert (logits is None) == (part.exit_index is None)
            found += [] if logits is None else [logits]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_measure_shapes_changes_nothing() -> None:
    norm = nn.BatchNorm2d(3)
    blocks = [("a", nn.Sequential(norm, nn.Conv2d(3, 4, 3, stride=2, padding=1))), ("b", nn.ReLU())]
    assert measure_shapes(blocks, 8) == [(3, 8, 8), (4, 4, 4), (4, 4, 4)]
    assert norm.training
    assert norm.num_batches_tracked == 0
