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

import baselines
import contest
import harness
import torch
from torch import Tensor

from greenedge.exits.policy import ExitPolicy
from greenedge.inference import Engine
from greenedge.models.entropy import entropy


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
    contests: list[dict[str, float]] = []
    for image_size in map(int, options.sizes.split(",")):
        images = contest.make_images(image_size, batches)
        contenders = _contenders(images, image_size, stay=options.stay, compiled=options.compiled)
        contests += contest.time_batches(contenders, images, batches, options.rounds, _keeps_memory)
    harness.report(*contests, as_json=options.json)


def _contenders(
    images: Tensor, image_size: int, *, stay: bool, compiled: bool
) -> dict[str, Callable[[Tensor], object]]:
    network = contest.make_network(image_size)
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


def _keeps_memory(name: str) -> bool:
    return "engine" in name or "kept" in name


if __name__ == "__main__":
    main()
