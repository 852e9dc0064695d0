"""Times training steps with freed memory kept and returned: all exits of two ResNets and EfficientNet-B0.

Each timing is two steps in the precision of `auto` and channels_last; `returned` is glibc's default. An untimed step
comes first, in which the memory to keep is allocated, since a training pays for that once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import harness
import torch
from allocation import return_freed_memory
from torch.nn import functional as F

from greenedge.config import ExitConfig, ModelConfig
from greenedge.device.memory import disable_malloc_trim
from greenedge.device.precision import choose_autocast
from greenedge.models.multi_exit import build_network
from greenedge.training.optimizers import adam

STEPS, BATCH, CLASSES = 2, 256, 200
NETWORKS = {
    "resnet18, 64 px": (ModelConfig("resnet18", exits=(ExitConfig("layer1"), ExitConfig("layer3"))), 64),
    "resnet50, 64 px": (ModelConfig("resnet50", exits=(ExitConfig("layer1"), ExitConfig("layer3"))), 64),
    "efficientnet_b0, 128 px": (
        ModelConfig("efficientnet_b0", exits=(ExitConfig("features.3"), ExitConfig("features.5"))),
        128,
    ),
}


def steps(model: ModelConfig, pixels: int) -> Callable[[int], None]:
    torch.manual_seed(0)
    network = build_network(model, CLASSES, pixels).train().to(memory_format=torch.channels_last)
    autocast = choose_autocast("auto", network, torch.device("cpu"))
    optimizer = adam(network)
    images = torch.randn(BATCH, 3, pixels, pixels).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (BATCH,))

    def run(count: int) -> None:
        for _ in range(count):
            with torch.autocast("cpu", autocast, enabled=autocast is not None):
                loss = torch.stack([F.cross_entropy(logits, labels) for logits in network(images)]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def _settle(switch: Callable[[], object], step: Callable[[int], None]) -> None:
    switch()
    step(1)


def main() -> None:
    options = harness.parser(__doc__, rounds=5).parse_args()
    if not disable_malloc_trim():
        raise SystemExit("the C library is not glibc; there is nothing to compare")
    medians = []
    for name, (model, pixels) in NETWORKS.items():
        step = steps(model, pixels)
        ways = {f"{name}: kept": disable_malloc_trim, f"{name}: returned": return_freed_memory}
        contenders = {way: partial(step, STEPS) for way in ways}
        before = {way: partial(_settle, switch, step) for way, switch in ways.items()}
        medians.append(harness.time_interleaved(contenders, options.rounds, before))
    harness.report(*medians, images=STEPS * BATCH, as_json=options.json)


if __name__ == "__main__":
    main()
