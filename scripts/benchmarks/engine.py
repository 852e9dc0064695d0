"""Times the engine against baselines: ResNet-50, 200 classes, random weights, about half the images exit after layer1.

The exits are after layer1, layer2 and layer3 (`linear` heads). The entropy threshold of the first is the median; no
image exits at the others. `plain` is torchvision's network in float32, `plain_kept` the same with freed memory kept
(memory.py), which only the engine does by default. `careful` is a float32 loop that compacts the remaining images,
`earlyon` the package with whole batches or single images, and `published` the paper's class with its own expensive
heads. `b1` runs 16 images one by one. Before each timed turn a contender runs once untimed. With `--stay` no image
exits early; `--compiled` adds the engine's compiled stages, which takes minutes more.
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
from greenedge.device.memory import disable_malloc_trim
from greenedge.exits.policy import ExitPolicy
from greenedge.inference import Engine
from greenedge.models.entropy import entropy
from greenedge.models.multi_exit import build_network

SINGLES = 16


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--sizes", default="64,128", help="pixels per side")
    parser.add_argument("--batches", default="1,64,256", help="images per batch")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; default: its own choice")
    parser.add_argument("--stay", action="store_true", help="no image exits early")
    parser.add_argument("--compiled", action="store_true", help="time the compiled engine too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    batches = [int(each) for each in options.batches.split(",")]
    contests = []
    for image_size in map(int, options.sizes.split(",")):
        images = torch.randn(max(*batches, SINGLES), 3, image_size, image_size)
        contenders = _contenders(images, image_size, stay=options.stay, compiled=options.compiled)
        for batch in batches:
            names = {name: f"{name}/{image_size}px/b{batch}" for name in contenders}
            turns = {names[name]: partial(_run, run, images, batch) for name, run in contenders.items()}
            before = {names[name]: partial(_settle, name, turns[names[name]]) for name in contenders}
            contests.append(harness.time_interleaved(turns, options.rounds, before))
    harness.report(*contests, as_json=options.json)


def _contenders(
    images: Tensor, image_size: int, *, stay: bool, compiled: bool
) -> dict[str, Callable[[Tensor], object]]:
    torch.manual_seed(0)
    exits = tuple(ExitConfig(stage, Component("linear")) for stage in ("layer1", "layer2", "layer3"))
    network = build_network(ModelConfig("resnet50", exits=exits), baselines.CLASSES, image_size).eval()
    with torch.inference_mode():
        _, first = network.segments[0](images)
    thresholds = (0.0 if stay else float(entropy(first).median()), 0.0, 0.0)
    plain = baselines.plain()
    contenders = {"plain": plain, "plain_kept": plain, "careful": baselines.careful(network, thresholds)}
    if not stay:
        earlyon = baselines.earlyon(images)
        contenders |= {} if earlyon is None else {"earlyon": earlyon}
        contenders["published"] = baselines.published(images, image_size)
    policy = ExitPolicy("entropy", thresholds)
    engines = {"engine_float32": Engine(network, policy, precision="float32"), "engine_auto": Engine(network, policy)}
    if compiled:
        engines["engine_compiled"] = Engine(network, policy, compiled=True)
    for engine in engines.values():
        engine.autotune()
    return contenders | {name: engine.predict for name, engine in engines.items()}


def _settle(name: str, run: Callable[[], object]) -> None:
    """Sets the allocator as in this contender's own process, and runs it once, so that the caches are its own."""
    disable_malloc_trim() if "engine" in name or "kept" in name else return_freed_memory()
    run()


def _run(run: Callable[[Tensor], object], images: Tensor, batch: int) -> None:
    if batch > 1:
        run(images[:batch])
        return
    for image in images[:SINGLES].split(1):
        run(image)


if __name__ == "__main__":
    main()
