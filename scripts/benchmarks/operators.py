"""Where ONNX Runtime spends its time on the ResNet-50 of backends.py: the share of each kind of operator.

The whole graph, no early exit, in float32 and in 8 bits, as ONNX Runtime's own profiler has it: medians over the runs,
and the multiply-adds per second that convolutions come to.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import contest
import harness
import onnxruntime
import torch
from torch import Tensor

from greenedge.cost.flops import count_costs
from greenedge.device.processor import sums_are_exact
from greenedge.inference.onnx_graphs import whole_graph
from greenedge.inference.quantization import Quantizer
from greenedge.reporting.tables import format_table

CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv")


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--batch", type=int, default=64, help="images per run")
    options = parser.parse_args()
    network, images = contest.make_network(options.size), contest.make_images(options.size, [options.batch])
    graphs = {"float32": whole_graph(network)}
    with Quantizer(graphs["float32"], images[:32].numpy(), 8 if sums_are_exact() else 7) as quantizer:
        graphs["int8"] = quantizer.quantize()

    batch = images[: options.batch]
    found = {
        precision: profile(graph.SerializeToString(), batch, options.rounds) for precision, graph in graphs.items()
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    multiply_adds = count_costs(network).exits[-1].gflops * options.batch
    for precision, seconds in found.items():
        total, convolutions = sum(seconds.values()), sum(seconds.get(each, 0.0) for each in CONVOLUTIONS)
        print(f"\n{precision}: {total:.3f} s; convolutions {multiply_adds / convolutions:.0f} G multiply-adds a second")
        by_share = sorted(seconds.items(), key=lambda each: -each[1])
        print(format_table(["operator", "s", "%"], [[n, f"{s:.4f}", f"{100 * s / total:.1f}"] for n, s in by_share]))


def profile(graph: bytes, images: Tensor, rounds: int) -> dict[str, float]:
    """Median seconds of each kind of operator in one run."""
    with tempfile.TemporaryDirectory() as folder:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
        inputs = {session.get_inputs()[0].name: images.numpy()}
        for _ in range(rounds + 1):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text())

    runs: list[defaultdict[str, float]] = []
    for event in sorted(events, key=lambda each: each["ts"]):
        if event["name"] == "model_run":
            runs.append(defaultdict(float))
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[-1][event["args"]["op_name"]] += event["dur"] / 1e6
    counted = runs[1:]  # the first warms the caches
    return {name: statistics.median(run[name] for run in counted) for name in counted[0]}


if __name__ == "__main__":
    main()
