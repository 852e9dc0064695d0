from __future__ import annotations

import importlib.util
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from greenedge.cost.flops import count_costs
from greenedge.errors import InstallationError, UsageError
from greenedge.exits.policy import ExitPolicy, shared_policy
from greenedge.inference import Engine, runtimes
from greenedge.inference.exported import ExportedNetwork, float_graph, open_graphs
from greenedge.inference.onnx_graphs import whole_graph, without_boundaries
from greenedge.inference.quantization import Quantizer
from greenedge.inference.runtimes import Runtime, open_graph
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import all_logits, parting_policy, random_network, route

RUNTIMES = get_args(Runtime)


def opened(network: MultiExitNetwork, runtime: Runtime, precision: str = "float32") -> ExportedNetwork:
    pytest.importorskip(runtime)
    graph = whole_graph(network)
    if precision == "int8":
        with Quantizer(graph, torch.randn(8, 3, 32, 32).numpy(), 7) as quantizer:
            graph = quantizer.quantize()
    gflops = torch.tensor([each.gflops for each in count_costs(network).exits], dtype=torch.float64)
    return open_graphs(graph, network, gflops, precision, runtime)  # type: ignore[arg-type]


def former_network() -> MultiExitNetwork:
    network = random_network("resnet18", "layer1", "layer2", "layer3")
    network.show_former_logits([1, 2], 3)
    with torch.no_grad():
        for former in network.formers.values():
            former.linear.weight.normal_()  # type: ignore[operator, union-attr]
    return network.eval()


@pytest.fixture(scope="module", params=["plain", "former logits"])
def any_network(request: pytest.FixtureRequest, network: MultiExitNetwork) -> MultiExitNetwork:
    return network if request.param == "plain" else former_network()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_decides_as_pytorch_does(any_network: MultiExitNetwork, images: Tensor, runtime: Runtime) -> None:
    logits = all_logits(any_network, images)
    policy = parting_policy("margin", logits)
    engine = Engine(opened(any_network, runtime), policy)
    found = engine.predict(images)
    exits = route(logits, policy)
    assert found.exits.tolist() == exits
    assert len(set(exits)) > 1
    exact = logits[exits, torch.arange(len(images))]
    torch.testing.assert_close(found.logits, exact, rtol=0, atol=1e-4)
    expected = Engine(any_network, policy, precision="float32").predict(images)
    torch.testing.assert_close(found.gflops, expected.gflops)


# In 8 bits OpenVINO may round by the number of images that it is given.
@pytest.mark.parametrize(
    ("runtime", "precision"), [("onnxruntime", "float32"), ("onnxruntime", "int8"), ("openvino", "float32")]
)
def test_streams_pool_survivors_and_change_no_prediction(
    network: MultiExitNetwork, images: Tensor, logits: Tensor, runtime: Runtime, precision: str
) -> None:
    policy = parting_policy("entropy", logits)
    engine = Engine(opened(network, runtime, precision), policy, chunks=(4, 5, 7))
    alone = torch.cat([engine.predict(image[None]).logits for image in images])
    streamed = list(engine.stream(torch.split(images, 6), max_wait=12))
    assert [len(each.exits) for each in streamed] == [6, 6, 6, 5]
    torch.testing.assert_close(torch.cat([each.logits for each in streamed]), alone, rtol=0, atol=1e-4)


def test_every_exit_in_8_bits_says_what_the_whole_graph_says(any_network: MultiExitNetwork, images: Tensor) -> None:
    graph = whole_graph(any_network)
    with Quantizer(graph, images.numpy(), 7) as quantizer:
        graph = quantizer.quantize()
    policy = shared_policy("entropy", None, any_network.num_exits - 1)
    network = open_graphs(graph, any_network, torch.arange(any_network.num_exits).double(), "int8", "onnxruntime")
    whole = open_graph(without_boundaries(graph).SerializeToString(), "onnxruntime", 1)({"images": images.numpy()})
    # A step of 8 bits anywhere would be a thousand times as large.
    np.testing.assert_allclose(Engine(network, policy).logits(images).numpy(), np.stack(whole), rtol=0, atol=1e-5)


def test_a_policy_chosen_in_another_precision_is_refused(network: MultiExitNetwork, images: Tensor) -> None:
    backend = opened(network, "onnxruntime", "int8")
    in_float32 = ExitPolicy("entropy", (0.5, 0.5), precision="float32")
    with pytest.raises(UsageError, match=r"was chosen in float32.*int8"):
        Engine(backend, in_float32)
    in_int8 = ExitPolicy("entropy", (0.5, 0.5), precision="int8")
    assert Engine(backend, in_int8).predict(images).valid.all()
    with pytest.raises(UsageError, match="was chosen in int8"):
        Engine(network, in_int8)


def test_a_runtime_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "is_installed", lambda _: False)
    with pytest.raises(InstallationError, match=r"openvino is not installed; pip install 'greenedge\[openvino\]'"):
        open_graph(b"", "openvino", 1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_no_graph_is_refused_in_a_sentence(runtime: Runtime) -> None:
    pytest.importorskip(runtime)
    with pytest.raises(InstallationError, match=f"{runtime} cannot run the graph"):
        open_graph(b"nothing of the kind", runtime, 1)


def test_autotune_leaves_the_chunks_of_an_export(network: MultiExitNetwork) -> None:
    engine = Engine(opened(network, "onnxruntime"), shared_policy("entropy", 0.5, 2))
    assert engine.autotune() == engine.chunks


def test_a_network_that_cannot_be_written_is_refused_in_a_sentence(
    network: MultiExitNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise torch.onnx.OnnxExporterError("no such operator")

    monkeypatch.setattr("greenedge.inference.onnx_graphs.whole_graph", fails)
    with pytest.raises(InstallationError, match=r"cannot be written as ONNX \(no such operator\)"):
        float_graph(network)


def test_packages_that_write_graphs_are_named_where_they_are_missing(
    network: MultiExitNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else real(name, *rest))
    with pytest.raises(InstallationError, match=r"pip install 'greenedge\[onnx\]'"):
        float_graph(network)
