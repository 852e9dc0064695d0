"""Times a float32 training step in both memory layouts, and with the first blocks frozen (channels last).

The network is greenedge's own; no images are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import harness
import torch
from torch.nn import functional as F

from greenedge.config import ModelConfig
from greenedge.device.memory import disable_malloc_trim
from greenedge.models.build import to_device
from greenedge.models.multi_exit import block_position, build_network

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Contest:
    """A network, and which of its first blocks are frozen in one of the contenders."""

    backbone: str
    image_size: int
    batch: int
    frozen_until: str


CONTESTS = (
    Contest("resnet18", 64, 64, "layer1"),
    Contest("resnext50_32x4d", 64, 32, "layer1"),
    Contest("timm/tf_efficientnet_lite0", 128, 32, "blocks.2"),
    Contest("efficientnet_b0", 128, 32, "features.3"),
)


def step(contest: Contest, *, channels_last: bool, frozen: bool = False) -> Callable[[], object]:
    network = build_network(ModelConfig(contest.backbone), 200, contest.image_size)
    network = to_device(network, CPU, channels_last=channels_last).train()
    if frozen:
        names = [name for name, _ in network.blocks]
        network.freeze(block_position(contest.frozen_until, names, "frozen_until") + 1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(contest.batch, 3, contest.image_size, contest.image_size).contiguous(memory_format=layout)
    labels = torch.randint(0, 200, (contest.batch,))
    optimizer = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], fused=True)

    def run() -> None:
        loss = F.cross_entropy(network(images)[-1], labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def main() -> None:
    options = harness.parser(__doc__, rounds=7).parse_args()
    disable_malloc_trim()
    medians = []
    for contest in CONTESTS:
        contenders = {
            f"{contest.backbone}/channels_last": step(contest, channels_last=True),
            f"{contest.backbone}/NCHW": step(contest, channels_last=False),
            f"{contest.backbone}/frozen": step(contest, channels_last=True, frozen=True),
        }
        medians.append(harness.time_interleaved(contenders, options.rounds))
    harness.report(*medians, as_json=options.json)


if __name__ == "__main__":
    main()
