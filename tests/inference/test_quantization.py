from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from greenedge.cost.flops import FlopCountAnalysis
from greenedge.inference import layer_search
from greenedge.inference.layer_search import QuantizedGraph, layer_shares, quantize_within
from greenedge.inference.onnx_graphs import whole_graph, without_boundaries
from greenedge.inference.quantization import Quantizer
from greenedge.inference.runtimes import open_graph
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import random_network


def initializers(graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}


def weights_of(graph: onnx.ModelProto) -> dict[str, tuple[np.ndarray, np.ndarray] | None]:
    """Convolution -> (integers, scale of each output channel); None where its weights are floats."""
    made = {name: node for node in graph.graph.node for name in node.output}
    values, found = initializers(graph), {}
    for node in graph.graph.node:
        if node.op_type == "Conv":
            source = made.get(node.input[1])
            found[node.name] = None if source is None else tuple(values[name] for name in source.input[:2])
    return found  # type: ignore[return-value]


def logits_of(graph: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return np.stack(open_graph(without_boundaries(graph).SerializeToString(), "onnxruntime", 1)({"images": images}))


@pytest.fixture(scope="module")
def mobile() -> MultiExitNetwork:
    """A network with depthwise convolutions."""
    return random_network("efficientnet_b0", "features.2", size=32)


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (7, 64)])
def test_weights_are_the_nearest_integers_in_so_many_bits(
    network: MultiExitNetwork, images: Tensor, bits: Any, largest: int
) -> None:
    graph = whole_graph(network)
    floats = initializers(graph)
    names = {node.name: node.input[1] for node in graph.graph.node if node.op_type == "Conv"}
    with Quantizer(graph, images.numpy(), bits) as quantizer:
        found = weights_of(quantizer.quantize())
    assert len(found) == len(names)
    for name, pair in found.items():
        assert pair is not None
        integers, scale = pair
        assert np.abs(integers.astype(int)).max() <= largest
        exact = floats[names[name]]
        steps = scale.reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(integers * steps, exact, rtol=0, atol=float(steps.max()) * 0.51)
        # Each channel uses the whole range.
        assert np.abs(integers.astype(int)).reshape(len(integers), -1).max(axis=1).min() >= largest - 1


def test_depthwise_layers_keep_8_bits_where_others_take_7(mobile: MultiExitNetwork) -> None:
    graph = whole_graph(mobile)
    with Quantizer(graph, torch.randn(8, 3, 32, 32).numpy(), 7) as quantizer:
        found = weights_of(quantizer.quantize())
    largest = {True: 0, False: 0}
    for pair in found.values():
        assert pair is not None
        depthwise = pair[0].shape[1] == 1
        largest[depthwise] = max(largest[depthwise], int(np.abs(pair[0].astype(int)).max()))
    assert largest == {True: 127, False: 64}


def test_ranges_are_those_of_the_images(network: MultiExitNetwork, images: Tensor) -> None:
    with Quantizer(whole_graph(network), images.numpy(), 8) as quantizer:
        graph = quantizer.quantize()
    entry = next(node for node in graph.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "images")
    scale = float(initializers(graph)[entry.input[1]])
    assert scale == pytest.approx(float(images.max() - images.min()) / 255, rel=1e-4)


def test_logit_layers_stay_in_float32(network: MultiExitNetwork, images: Tensor) -> None:
    with Quantizer(whole_graph(network), images.numpy(), 8) as quantizer:
        graph = quantizer.quantize()
    made = {name: node.op_type for node in graph.graph.node for name in node.output}
    linear = [node for node in graph.graph.node if node.op_type == "Gemm"]
    assert len(linear) == 3
    assert not any(made.get(name) == "DequantizeLinear" for node in linear for name in node.input)


def test_a_layer_that_is_to_stay_stays_and_no_other(network: MultiExitNetwork, images: Tensor) -> None:
    with Quantizer(whole_graph(network), images.numpy(), 8) as quantizer:
        layer = quantizer.layers[3]
        found = weights_of(quantizer.quantize([layer]))
        again = weights_of(quantizer.quantize())
    assert [name for name, pair in found.items() if pair is None] == [layer]
    assert None not in again.values()


def test_logits_in_8_bits_are_near_those_in_float32(network: MultiExitNetwork, images: Tensor, logits: Tensor) -> None:
    with Quantizer(whole_graph(network), images.numpy(), 7) as quantizer:
        found = logits_of(quantizer.quantize(), images.numpy())
    for exact, other in zip(logits.numpy(), found, strict=True):
        assert np.corrcoef(exact.ravel(), other.ravel())[0, 1] > 0.97
        assert not np.array_equal(exact, other)


def test_shares_of_layers_are_those_of_their_multiply_adds(mobile: MultiExitNetwork) -> None:
    with torch.no_grad():
        counts = FlopCountAnalysis(mobile, torch.zeros(1, 3, 32, 32)).unsupported_ops_warnings(False).by_module()
    convolutions = [name for name, module in mobile.named_modules() if isinstance(module, torch.nn.Conv2d)]
    by_hand = sorted(counts[name] for name in convolutions if name.startswith(("backbone.", "heads.")))
    total = sum(by_hand)
    assert sorted(layer_shares(whole_graph(mobile)).values()) == pytest.approx([each / total for each in by_hand])


def search(
    network: MultiExitNetwork, images: Tensor, max_loss: float, max_float_share: float = 1.0
) -> tuple[QuantizedGraph, list[str]]:
    graph = whole_graph(network)
    labels = network(images)[-1].argmax(dim=1).numpy()
    with Quantizer(graph, images.numpy(), 8) as quantizer:
        found = quantize_within(
            graph,
            quantizer,
            images.numpy(),
            labels,
            max_loss=max_loss,
            max_float_share=max_float_share,
            threads=1,
        )
        return found, quantizer.layers


@torch.no_grad()
def ruined_network() -> MultiExitNetwork:
    """In one block a channel is so large that the others vanish in 256 steps, and the convolution there ignores it."""
    network = random_network("resnet18", "layer1")
    norm, reader = (network.backbone.get_submodule(f"layer1.0.{name}") for name in ("bn1", "conv2"))
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert isinstance(reader, torch.nn.Conv2d)
    norm.bias[0] = 3000.0
    reader.weight[:, 0] = 0
    return network


def test_what_loses_little_has_no_layer_left_in_float32(network: MultiExitNetwork, images: Tensor) -> None:
    found, _ = search(network, images, max_loss=0.5)
    assert (found.keep_float, found.float_share) == ((), 0.0)
    assert found.loss == found.loss_before <= 0.5


def fake_search(losses: dict[tuple[str, ...], float], shares: dict[str, float], max_loss: float, budget: float) -> Any:
    class FakeQuantizer:
        def quantize(self, keep: list[str]) -> tuple[str, ...]:
            return tuple(keep)

    start = QuantizedGraph((), (), 0.0, losses[()], 0.0)  # type: ignore[arg-type]
    return layer_search._keep_layers(
        FakeQuantizer(),  # type: ignore[arg-type]
        list(shares),
        shares,
        losses.__getitem__,  # type: ignore[arg-type]
        start,
        max_loss,
        budget,
    )


def test_layers_are_left_one_after_the_other_until_the_loss_is_as_asked() -> None:
    losses = {(): 0.4, ("a",): 0.2, ("a", "b"): 0.05, ("a", "b", "c"): 0.0}
    found = fake_search(losses, {"a": 0.1, "b": 0.2, "c": 0.1}, max_loss=0.1, budget=1.0)
    assert (found.keep_float, found.loss) == (("a", "b"), 0.05)
    assert found.float_share == pytest.approx(0.3)


def test_layers_beyond_the_budget_of_speed_are_passed_over() -> None:
    losses = {(): 0.4, ("a",): 0.2, ("a", "c"): 0.1}
    found = fake_search(losses, {"a": 0.1, "b": 0.5, "c": 0.1}, max_loss=0.01, budget=0.25)
    assert (found.keep_float, found.loss) == (("a", "c"), 0.1)


def test_a_layer_that_makes_it_worse_is_not_the_result() -> None:
    losses = {(): 0.4, ("a",): 0.5}
    assert fake_search(losses, {"a": 0.1}, max_loss=0.01, budget=1.0).keep_float == ()


@pytest.mark.slow
def test_layers_that_ruin_a_network_are_found(images: Tensor) -> None:
    found, layers = search(ruined_network(), images, max_loss=0.1)
    assert found.loss_before > 0.2
    assert found.loss <= 0.1
    assert {layers[1], layers[2]} <= set(found.keep_float)  # the two convolutions of the block, behind the stem
