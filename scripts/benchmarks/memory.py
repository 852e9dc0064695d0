"""What keeping freed memory gives a training step: all exits of two ResNets and EfficientNet-B0, each with and without.

Three steps a timing, in the precision of `auto`, channels_last; the way of the C library is switched between timings.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import contest
import torch
from torch.nn import functional as F

from greenedge.config import ExitConfig, ModelConfig
from greenedge.models.multi_exit import build_network
from greenedge.training.memory import keep_freed_memory
from greenedge.training.optimizers import adam
from greenedge.training.precision import choose_autocast

STEPS, BATCH, CLASSES = 3, 128, 200
NETWORKS = {
    "resnet18, 64 px": (ModelConfig("resnet18", exits=(ExitConfig("layer1"), ExitConfig("layer3"))), 64),
    "resnet50, 64 px": (ModelConfig("resnet50", exits=(ExitConfig("layer1"), ExitConfig("layer3"))), 64),
    "efficientnet_b0, 128 px": (
        ModelConfig("efficientnet_b0", exits=(ExitConfig("features.3"), ExitConfig("features.5"))),
        128,
    ),
}


def glibc_as_it_comes() -> None:
    """Back to glibc's defaults, all free memory returned: M_MMAP_MAX 65,536, both thresholds 128 KiB."""
    libc = ctypes.CDLL(None)
    for parameter, value in ((-4, 65536), (-1, 128 * 1024), (-3, 128 * 1024)):
        libc.mallopt(parameter, value)
    libc.malloc_trim(0)


def steps(model: ModelConfig, pixels: int) -> Callable[[], None]:
    torch.manual_seed(0)
    network = build_network(model, CLASSES, pixels).train().to(memory_format=torch.channels_last)
    autocast = choose_autocast("auto", network, torch.device("cpu"))
    optimizer = adam(network)
    images = torch.randn(BATCH, 3, pixels, pixels).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (BATCH,))

    def run() -> None:
        for _ in range(STEPS):
            with torch.autocast("cpu", autocast, enabled=autocast is not None):
                loss = torch.stack([F.cross_entropy(logits, labels) for logits in network(images)]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def main() -> None:
    options = contest.parser(__doc__, rounds=5).parse_args()
    if not keep_freed_memory():
        raise SystemExit("the C library is not glibc: nothing to compare")
    medians = []
    for name, (model, pixels) in NETWORKS.items():
        step = steps(model, pixels)

        def kept(step: Callable[[], None] = step) -> None:
            keep_freed_memory()
            step()

        def as_it_comes(step: Callable[[], None] = step) -> None:
            glibc_as_it_comes()
            step()

        medians.append(
            contest.alternate({f"{name}: kept": kept, f"{name}: glibc's default": as_it_comes}, options.rounds)
        )
    contest.report(*medians, images=STEPS * BATCH, as_json=options.json)


if __name__ == "__main__":
    main()
