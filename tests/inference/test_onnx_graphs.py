from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.inference.onnx_graphs import cut_graph, cuts_of, whole_graph, without_boundaries, without_early_exits
from greenedge.inference.quantization import Quantizer
from greenedge.inference.runtimes import open_graph
from greenedge.models.multi_exit import MultiExitNetwork, build_network
from tests.inference.helpers import all_logits, random_network


@pytest.fixture(scope="module")
def graph(network: MultiExitNetwork) -> onnx.ModelProto:
    return whole_graph(network)


@pytest.fixture(scope="module")
def in_8_bits(graph: onnx.ModelProto, images: Tensor) -> onnx.ModelProto:
    with Quantizer(graph, images.numpy(), 7) as quantizer:
        return quantizer.quantize()


def run(graph: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    return open_graph(graph.SerializeToString(), "onnxruntime", 1)(inputs)


def run_chain(network: MultiExitNetwork, graph: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    """Logits of each exit, segment after segment."""
    features, found = images, []
    for segment, cut in zip(network.segments, cuts_of(network), strict=True):
        *handed_on, logits = run(cut_graph(graph, cut), features=images if segment.reads_images else features)
        found.append(logits)
        features = handed_on[0] if handed_on else features
    return found


@pytest.mark.parametrize("count", [1, 5])
def test_the_whole_graph_gives_what_pytorch_gives(
    network: MultiExitNetwork, graph: onnx.ModelProto, images: Tensor, logits: Tensor, count: int
) -> None:
    found = run(without_boundaries(graph), images=images[:count].numpy())
    assert len(found) == 3
    np.testing.assert_allclose(np.stack(found), logits[:, :count].numpy(), rtol=0, atol=1e-4)


def test_the_graph_without_early_exits_is_the_backbone(
    network: MultiExitNetwork, graph: onnx.ModelProto, images: Tensor
) -> None:
    backbone = without_early_exits(without_boundaries(graph))
    (found,) = run(backbone, images=images.numpy())
    with torch.inference_mode():
        expected = network.backbone(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    held = sum(np.prod(tensor.dims) for tensor in backbone.graph.initializer)
    weights = sum(parameter.numel() for parameter in network.backbone.parameters())
    assert held == pytest.approx(weights, rel=0.01)  # batch norms are folded; the heads would be more


def test_segments_in_a_row_give_what_the_whole_graph_gives(
    network: MultiExitNetwork, graph: onnx.ModelProto, images: Tensor
) -> None:
    whole = run(without_boundaries(graph), images=images.numpy())
    np.testing.assert_allclose(run_chain(network, graph, images.numpy()), whole, rtol=0, atol=1e-5)


def test_segments_in_8_bits_give_what_the_whole_graph_gives(
    network: MultiExitNetwork, in_8_bits: onnx.ModelProto, images: Tensor
) -> None:
    whole = run(without_boundaries(in_8_bits), images=images.numpy())
    # A step of 8 bits anywhere would be a thousand times as large.
    np.testing.assert_allclose(run_chain(network, in_8_bits, images.numpy()), whole, rtol=0, atol=1e-5)


def test_segments_in_8_bits_hand_integers_on(network: MultiExitNetwork, in_8_bits: onnx.ModelProto) -> None:
    first, second, last = (cut_graph(in_8_bits, cut) for cut in cuts_of(network))
    handed_on, read = first.graph.output[0], second.graph.input[0]
    assert (handed_on.name, read.name) == ("next_features", "features")
    assert handed_on.type.tensor_type.elem_type == read.type.tensor_type.elem_type == TensorProto.UINT8
    assert [each.dim_value for each in read.type.tensor_type.shape.dim[1:]] == [64, 8, 8]
    assert [value.name for value in last.graph.output] == ["logits"]


def test_segments_hold_only_their_own_weights(network: MultiExitNetwork, graph: onnx.ModelProto) -> None:
    parts = [cut_graph(graph, cut) for cut in cuts_of(network)]
    held = [sum(np.prod(tensor.dims) for tensor in part.graph.initializer) for part in parts]
    whole = sum(np.prod(tensor.dims) for tensor in graph.graph.initializer)
    assert sum(held) == pytest.approx(whole, rel=1e-4)  # some constants are shared
    for part in parts:
        onnx.checker.check_model(part, full_check=True)


def test_the_layout_of_the_weights_changes_no_graph(images: Tensor) -> None:
    network = random_network("resnet18", "layer1", "layer2", head="linear")
    before = run_chain(network, whole_graph(network), images.numpy())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    np.testing.assert_allclose(run_chain(network, whole_graph(network), images.numpy()), before, rtol=0, atol=1e-5)


def test_the_network_is_not_changed() -> None:
    network = random_network("resnet18", "layer2").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    whole_graph(network)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all_logits(network.eval(), torch.randn(2, 3, 32, 32)).shape == (2, 2, 3)


@pytest.mark.parametrize(("backbone", "after"), [("timm/test_convnext", "stages.1"), ("timm/test_vit", "blocks.2")])
def test_segments_that_reshape_their_features_need_no_images(backbone: str, after: str, images: Tensor) -> None:
    pytest.importorskip("timm")
    # Pooling asks how many images there are, and the head of the second exit is not in the segment that sees them.
    exits = tuple(ExitConfig(block, Component("linear")) for block in ("stem", after))
    network = build_network(ModelConfig(backbone, exits=exits), 5, 32).eval()
    given = images[:3].numpy()
    with torch.no_grad():
        expected = [each.numpy() for each in network(images[:3])]
    for found, known in zip(run_chain(network, whole_graph(network), given), expected, strict=True):
        np.testing.assert_allclose(found, known, atol=1e-5)
