from __future__ import annotations

import importlib.util
from typing import cast

import pytest
import torch
from torch import Tensor

from greenedge.cost.flops import count_costs
from greenedge.errors import InstallationError
from greenedge.exits.policy import shared_policy
from greenedge.inference import Engine, exported
from greenedge.inference.exported import open_network, segment_graphs
from greenedge.inference.runtimes import Runtime, is_installed
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import all_logits, parting_policy, random_network, route

RUNTIMES = [
    pytest.param(name, marks=pytest.mark.skipif(not is_installed(cast(Runtime, name)), reason=f"needs {name}"))
    for name in ("onnxruntime", "openvino")
]
GFLOPS = (0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def graphs(network: MultiExitNetwork) -> list[bytes]:
    pytest.importorskip("onnxscript")
    return segment_graphs(network)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_open_network_predicts_as_the_network_does(
    network: MultiExitNetwork, images: Tensor, logits: Tensor, graphs: list[bytes], runtime: Runtime
) -> None:
    policy = parting_policy("entropy", logits)
    expected = route(logits, policy)
    assert len(set(expected)) == 3

    backend = open_network(network, runtime, GFLOPS, 1, graphs)
    engine = Engine(backend, policy)
    predictions = engine.predict(images)
    assert predictions.exits.tolist() == expected
    assert predictions.gflops.tolist() == [GFLOPS[exit_index] for exit_index in expected]
    torch.testing.assert_close(engine.logits(images), logits, rtol=0, atol=1e-4 * float(logits.abs().max()))
    assert (backend.precision, backend.runtime, backend.image_size) == ("float32", runtime, 32)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_open_network_makes_the_graphs_itself(runtime: Runtime) -> None:
    pytest.importorskip("onnxscript")
    small = random_network("resnet18", "layer1")
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    policy = shared_policy("entropy", None, 1)
    gflops = [each.gflops for each in count_costs(small).exits]
    found = Engine(open_network(small, runtime, gflops, 1), policy).predict(images)
    assert found.exits.tolist() == [1, 1, 1]
    assert found.gflops.tolist() == gflops[1:] * 3
    assert found.predictions.tolist() == all_logits(small, images)[1].argmax(dim=1).tolist()


def test_segment_graphs_says_what_is_not_installed(network: MultiExitNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else real(name, *rest))
    with pytest.raises(InstallationError, match=r"pip install 'greenedge\[onnx\]'"):
        segment_graphs(network)


def test_segment_graphs_says_why_a_network_cannot_be_written(
    network: MultiExitNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx_graphs = pytest.importorskip("greenedge.inference.onnx_graphs")

    def fails(_: object) -> None:
        raise torch.onnx.OnnxExporterError("no such operator")

    monkeypatch.setattr(onnx_graphs, "whole_graph", fails)
    with pytest.raises(InstallationError, match=r"cannot be written as ONNX \(no such operator\)"):
        exported.segment_graphs(network)
