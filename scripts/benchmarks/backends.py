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
import harness
import torch
from allocation import return_freed_memory
from torch import Tensor

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.cost.flops import count_costs
from greenedge.device.memory import disable_malloc_trim
from greenedge.device.processor import sums_are_exact
from greenedge.exits.policy import ExitPolicy
from greenedge.inference import Engine
from greenedge.inference.exported import open_graphs
from greenedge.inference.onnx_graphs import whole_graph
from greenedge.inference.quantization import Quantizer
from greenedge.inference.runtimes import RUNTIMES, is_installed
from greenedge.models.entropy import entropy
from greenedge.models.multi_exit import MultiExitNetwork, build_network

SINGLES = 16
STAY = (0.0, 0.0, 0.0)


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--sizes", default="64,128", help="pixels per side")
    parser.add_argument("--batches", default="1,64,256", help="images per batch")
    options = parser.parse_args()
    batches = [int(each) for each in options.batches.split(",")]
    contests = []
    for image_size in map(int, options.sizes.split(",")):
        images = torch.randn(max(*batches, SINGLES), 3, image_size, image_size)
        contenders = _contenders(images, image_size)
        for batch in batches:
            names = {name: f"{name}/{image_size}px/b{batch}" for name in contenders}
            turns = {names[name]: partial(_run, run, images, batch) for name, run in contenders.items()}
            before = {names[name]: partial(_settle, name, turns[names[name]]) for name in contenders}
            contests.append(harness.time_interleaved(turns, options.rounds, before))
    harness.report(*contests, as_json=options.json)


def _contenders(images: Tensor, image_size: int) -> dict[str, Callable[[Tensor], object]]:
    torch.manual_seed(0)
    exits = tuple(ExitConfig(stage, Component("linear")) for stage in ("layer1", "layer2", "layer3"))
    network = build_network(ModelConfig("resnet50", exits=exits), baselines.CLASSES, image_size).eval()
    found: dict[str, Callable[[Tensor], object]] = {
        "plain": baselines.plain(),
        "plain_kept": _in_channels_last(network),
    }

    pytorch = Engine(network, ExitPolicy("entropy", STAY), precision="float32")
    pytorch.autotune()
    engines = {"pytorch_float32": pytorch}
    graphs = {"float32": whole_graph(network)}
    with Quantizer(graphs["float32"], images[:32].numpy(), 8 if sums_are_exact() else 7) as quantizer:
        graphs["int8"] = quantizer.quantize()
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


def _settle(name: str, run: Callable[[], object]) -> None:
    """Sets the allocator as in this contender's own process, and runs it once, so that the caches are its own."""
    return_freed_memory() if name == "plain" else disable_malloc_trim()
    run()


def _run(run: Callable[[Tensor], object], images: Tensor, batch: int) -> None:
    if batch > 1:
        run(images[:batch])
        return
    for image in images[:SINGLES].split(1):
        run(image)


if __name__ == "__main__":
    main()
