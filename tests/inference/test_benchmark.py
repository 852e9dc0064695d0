from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import onnx
import pytest
import torch
from torch import Tensor

from greenedge.cost.energy import EnergyMeter
from greenedge.cost.energy_use import EnergyWindows
from greenedge.errors import UsageError
from greenedge.exits.policy import ExitPolicy, shared_policy
from greenedge.inference import Engine, contenders
from greenedge.inference.bench_result import BenchResult
from greenedge.inference.benchmark import BenchOptions, benchmark_policy
from greenedge.inference.contenders import BACKBONE, PLAIN
from greenedge.inference.exported import ExportedNetwork, float_graph, open_graphs
from greenedge.inference.runtimes import Runtime, is_installed
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.reporting.bench import present_bench
from tests.inference.helpers import parting_policy, route

SHORT = BenchOptions(precision="float32", batches=(1, 4), rounds=1, singles=2, windows=EnergyWindows(0.01, 2))
FIRST = [PLAIN.key, BACKBONE.key, "engine, none leaves", "engine, policy"]


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few images a turn, and default chunk sizes: measuring them is tested elsewhere."""
    monkeypatch.setattr(Engine, "autotune", lambda engine: engine.chunks)
    monkeypatch.setattr("greenedge.cost.benchmark.IMAGES_PER_TURN", 4)
    monkeypatch.setattr("greenedge.inference.benchmark.IMAGES_PER_TURN", 4)


@pytest.fixture(scope="module")
def policy(logits: Tensor) -> ExitPolicy:
    return parting_policy("entropy", logits)


@pytest.fixture(scope="module")
def graph(network: MultiExitNetwork) -> onnx.ModelProto:
    """Made once, which takes seconds."""
    pytest.importorskip("onnxscript")
    return float_graph(network)


@pytest.fixture(scope="module")
def backend(network: MultiExitNetwork, graph: onnx.ModelProto) -> ExportedNetwork:
    """As an export in int8 gives it, but for its numbers."""
    pytest.importorskip("onnxruntime")
    gflops = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    return open_graphs(graph, network, gflops, "int8", "onnxruntime")


def rates(logits: Tensor, policy: ExitPolicy) -> list[float]:
    """Exit rates by routing one image after the other."""
    exits = route(logits, policy)
    return [exits.count(index) / len(exits) for index in range(len(logits))]


def test_benchmark_policy_times_an_export_under_its_own_policy(
    network: MultiExitNetwork, policy: ExitPolicy, images: Tensor, logits: Tensor, backend: ExportedNetwork
) -> None:
    own = replace(shared_policy("entropy", 9.0, 2), precision="int8")
    exports = [("onnxruntime int8", backend, own)]
    found = benchmark_policy(network, policy, images, replace(SHORT, only=("engine", "onnxruntime int8")), exports)
    assert list(found.contenders) == [*FIRST, "onnxruntime int8, none leaves", "onnxruntime int8, policy"]
    export = found.contenders["onnxruntime int8, policy"]
    assert (export.precision, export.policy, export.chosen_in) == ("int8", own, "int8")
    assert export.exit_rates == (1.0, 0.0, 0.0)  # an entropy is never as high as the threshold
    engine = found.contenders["engine, policy"]
    assert engine.exit_rates == pytest.approx(rates(logits, policy))
    assert found.contenders["onnxruntime int8, none leaves"].policy is None

    alone = benchmark_policy(network, policy, images, replace(SHORT, only=("onnxruntime int8",)), exports)
    assert list(alone.timings.batches[4]) == list(alone.timings.latency) == [*FIRST[:2], *list(found.contenders)[4:]]
    assert (alone.lead, alone.precision, alone.policy, alone.executed_gflops) == ("onnxruntime int8", "int8", own, None)
    assert alone.gflops == pytest.approx(0.1)
    assert "onnxruntime int8 without early exit" in " ".join(present_bench("m", "val", 23, alone).text.split())


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_benchmark_policy_runs_other_precisions_under_the_same_thresholds(
    network: MultiExitNetwork,
    policy: ExitPolicy,
    images: Tensor,
    logits: Tensor,
    graph: onnx.ModelProto,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contenders, "float_graph", lambda _: graph)
    if not is_installed(cast(Runtime, name)):
        pytest.skip(f"needs {name}")
    options = replace(SHORT, precision="auto", only=("engine", f"{name} float32"))
    found = benchmark_policy(network, replace(policy, precision="bf16"), images, options)
    assert found.precision == found.baseline_precision == "bfloat16"
    other = found.contenders[f"{name} float32, policy"]
    assert (other.precision, other.chosen_in) == ("float32", "bf16")
    assert other.exit_rates == pytest.approx(rates(logits, policy))
    text = " ".join(present_bench("m", "val", 23, found).text.split())
    assert "the thresholds were chosen in bf16; these run under them in another precision" in text
    assert f"may exit: {name} float32 " in text


def test_benchmark_policy_times_pytorch_in_the_other_precision(
    network: MultiExitNetwork, policy: ExitPolicy, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(computes: bool) -> tuple[list[str], BenchResult]:
        monkeypatch.setattr(contenders, "computes_bf16", lambda _: computes)
        monkeypatch.setattr("greenedge.inference.runtimes.is_installed", lambda _: False)
        found = benchmark_policy(network, policy, images, SHORT)
        return list(found.contenders), found

    with_bf16, found = names(computes=True)
    assert with_bf16 == [*FIRST, "pytorch bf16, none leaves", "pytorch bf16, policy"]
    assert found.contenders["pytorch bf16, policy"].precision == "bf16"
    assert found.contenders["engine, policy"].precision == "float32"
    without, found = names(computes=False)
    assert without == FIRST
    assert found.left_out == {
        "pytorch float32": "it is the same as engine",
        "pytorch bf16": "this processor does not compute in bf16",
        "onnxruntime float32": "onnxruntime is not installed; pip install 'greenedge[onnx]'",
        "openvino float32": "openvino is not installed; pip install 'greenedge[openvino]'",
    }
    assert "left out: pytorch float32 (it is the same as engine), " in present_bench("m", "val", 23, found).text


def test_benchmark_policy_refuses_names_that_it_cannot_time(
    network: MultiExitNetwork, policy: ExitPolicy, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenedge.inference.runtimes.is_installed", lambda _: False)
    with pytest.raises(UsageError, match="openvino float32 cannot be timed: openvino is not installed"):
        benchmark_policy(network, policy, images, replace(SHORT, only=("engine", "openvino float32")))
    with pytest.raises(UsageError, match="there is no contender 'onnxruntime int8'; there are engine, "):
        benchmark_policy(network, policy, images, replace(SHORT, only=("onnxruntime int8",)))


def test_benchmark_policy_refuses_two_exports_of_one_name(
    network: MultiExitNetwork, policy: ExitPolicy, images: Tensor, backend: ExportedNetwork
) -> None:
    with pytest.raises(UsageError, match="two contenders are called 'a'"):
        benchmark_policy(network, policy, images, SHORT, [("a", backend, policy), ("a", backend, policy)])


class _Board:
    def begin_window(self, _: str) -> None:
        pass

    def end_window(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(gpu_energy=None, cpu_energy={0: 12.0}, dram_energy=None, soc_energy=None)


def test_present_bench_fits_the_page_with_all_contenders(
    network: MultiExitNetwork,
    policy: ExitPolicy,
    images: Tensor,
    backend: ExportedNetwork,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    meter = EnergyMeter(_Board(), "measured", ("CPU package",))
    monkeypatch.setattr("greenedge.inference.benchmark.find_energy_meter", lambda: (meter, "joules of the CPU"))
    monkeypatch.setattr(contenders, "computes_bf16", lambda _: True)
    free = replace(policy, precision=None)
    exports = [("onnxruntime int8", backend, free), ("openvino int8", backend, free)]
    found = benchmark_policy(network, policy, images, SHORT, exports)
    result = present_bench("a network", "val", 23, found)
    assert max(map(len, result.text.splitlines())) <= 100
    assert result.text.count("openvino int8, policy") == 4  # latency, images/s, ratio, energy
    assert found.energy is not None
    assert list(found.energy.contenders) == list(found.contenders)
    assert result.csv is not None
    assert len(result.csv.rows) == 2 * len(found.contenders)

    # One dot a contender in each panel but for the one that all are compared with, and no text beyond the figure.
    assert result.figure is not None
    result.figure.savefig(tmp_path / "bench.png")
    dots = [sum(len(each.get_offsets()) for each in axes.collections) for axes in result.figure.axes]
    assert dots == [len(found.contenders) - 1] * 2
    for axes in result.figure.axes:
        times = [float(x) for each in axes.collections for x, _ in each.get_offsets()]
        assert max(times) < axes.get_xlim()[1]
    box = result.figure.get_tightbbox()
    width, height = result.figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height
