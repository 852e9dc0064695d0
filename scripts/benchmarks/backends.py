"""Times runtimes and int8 against PyTorch: ResNet-50, 200 classes, random weights, half the images exit after layer1.

The network is that of engine.py. `plain` is torchvision's in float32 as it comes, `plain_kept` the same in channels
last with freed memory kept. Each runtime has the network in float32 and in 8 bits, and each runs once with the median
entropy of its own first exit as the threshold (`half`) and once with no image exiting early (`none`). Random weights
make 8 bits neither slower nor faster than trained ones. `b1` runs 16 images one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import baselines
import contest
import harness
import torch
from eight_bits import in_8_bits
from torch import Tensor

from greenedge.cost.flops import count_costs
from greenedge.exits.policy import ExitPolicy
from greenedge.inference import Engine
from greenedge.inference.exported import open_graphs
from greenedge.inference.onnx_graphs import whole_graph
from greenedge.inference.runtimes import RUNTIMES, is_installed
from greenedge.models.entropy import entropy
from greenedge.models.multi_exit import MultiExitNetwork

STAY = (0.0, 0.0, 0.0)


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--sizes", default="64,128", help="pixels per side")
    parser.add_argument("--batches", default="1,64,256", help="images per batch")
    options = parser.parse_args()
    batches = [int(each) for each in options.batches.split(",")]
    contests: list[dict[str, float]] = []
    for image_size in map(int, options.sizes.split(",")):
        images = contest.make_images(image_size, batches)
        contenders = _contenders(images, image_size)
        contests += contest.time_batches(contenders, images, batches, options.rounds, _keeps_memory)
    harness.report(*contests, as_json=options.json)


def _contenders(images: Tensor, image_size: int) -> dict[str, Callable[[Tensor], object]]:
    network = contest.make_network(image_size)
    found: dict[str, Callable[[Tensor], object]] = {
        "plain": baselines.plain(),
        "plain_kept": _in_channels_last(network),
    }

    pytorch = Engine(network, ExitPolicy("entropy", STAY), precision="float32")
    pytorch.autotune()
    engines = {"pytorch_float32": pytorch}
    graph = whole_graph(network)
    graphs = {"float32": graph, "int8": in_8_bits(graph, images)}
    gflops = torch.tensor([each.gflops for each in count_costs(network).exits], dtype=torch.float64)
    for runtime in filter(is_installed, RUNTIMES):
        for precision, graph in graphs.items():
            backend = open_graphs(graph, network, gflops, precision, runtime)
            engines[f"{runtime}_{precision}"] = Engine(backend, ExitPolicy("entropy", STAY))
    for name, engine in engines.items():
        half = float(entropy(engine.logits(images)[0]).median())
        for choice, thresholds in (("half", (half, 0.0, 0.0)), ("none", STAY)):
            found[f"{name}_{choice}"] = partial(_predict, engine, ExitPolicy("entropy", thresholds))
    return found


def _in_channels_last(network: MultiExitNetwork) -> Callable[[Tensor], object]:
    backbone = network.backbone.to(memory_format=torch.channels_last)

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = backbone(images.contiguous(memory_format=torch.channels_last))
            return logits

    return run


def _predict(engine: Engine, policy: ExitPolicy, images: Tensor) -> object:
    engine.policy = policy
    return engine.predict(images)


def _keeps_memory(name: str) -> bool:
    return name != "plain"


if __name__ == "__main__":
    main()
