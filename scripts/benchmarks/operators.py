"""Where ONNX Runtime spends its time: the seconds of each kind of operator in a whole graph, without early exit.

The ResNet-50 of backends.py in float32 and in 8 bits, or with `--export` the graphs of exports; medians over the runs,
as ONNX Runtime's own profiler has them. Convolutions in groups are told from others.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import contest
import harness
import onnx
import onnxruntime
import torch
from eight_bits import in_8_bits
from torch import Tensor

from greenedge.inference.onnx_graphs import whole_graph
from greenedge.reporting.tables import format_table


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--export", type=Path, action="append", default=[], help="the folder of an ONNX export")
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--batch", type=int, default=64, help="images per run")
    options = parser.parse_args()
    images = contest.make_images(options.size, [options.batch])[: options.batch]
    graphs = {folder.name: (folder / "network.onnx").read_bytes() for folder in options.export}
    found = {name: profile(graph, images, options.rounds) for name, graph in (graphs or resnet50(images)).items()}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, seconds in found.items():
        total = sum(seconds.values())
        rows = [
            [n, f"{s:.4f}", f"{100 * s / total:.1f}"] for n, s in sorted(seconds.items(), key=lambda each: -each[1])
        ]
        print(f"\n{name}: {total:.3f} s", format_table(["operator", "s", "%"], rows), sep="\n")


def resnet50(images: Tensor) -> dict[str, bytes]:
    """Its whole graph in both precisions, for images of this size."""
    graph = whole_graph(contest.make_network(images.shape[-1]))
    return {"float32": graph.SerializeToString(), "int8": in_8_bits(graph, images).SerializeToString()}


def profile(graph: bytes, images: Tensor, rounds: int) -> dict[str, float]:
    """Median seconds of each kind of operator in one run."""
    with tempfile.TemporaryDirectory() as folder:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "profile")
        settings.optimized_model_filepath = str(Path(folder) / "optimized.onnx")  # whose nodes the profiler names
        session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
        inputs = {session.get_inputs()[0].name: images.numpy()}
        for _ in range(rounds + 1):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
        kinds = {node.name: _kind(node) for node in onnx.load(settings.optimized_model_filepath).graph.node}

    runs: list[defaultdict[str, float]] = []
    for event in sorted(events, key=lambda each: each["ts"]):
        if event["name"] == "model_run":
            runs.append(defaultdict(float))
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[-1][kinds[event["name"].removesuffix("_kernel_time")]] += event["dur"] / 1e6
    counted = runs[1:]  # the first warms the caches
    return {name: statistics.median(run[name] for run in counted) for name in counted[0]}


def _kind(node: onnx.NodeProto) -> str:
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return f"{node.op_type}, {groups} groups" if groups > 1 else str(node.op_type)


if __name__ == "__main__":
    main()
