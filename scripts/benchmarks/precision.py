"""Times a training step in float32 and in bf16 (autocast), batch 64 at 64 px: the basis of `precision: auto`."""

from __future__ import annotations

from collections.abc import Callable

import harness
import torch
import torchvision
from torch.nn import functional as F

BATCH = 64


def step(name: str, autocast: torch.dtype | None) -> Callable[[], object]:
    network = torchvision.models.get_model(name, num_classes=200).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    images = torch.randn(BATCH, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 200, (BATCH,))

    def run() -> None:
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            loss = F.cross_entropy(network(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("networks", nargs="*", default=["resnet18", "resnet50", "resnext50_32x4d", "efficientnet_b0"])
    options = parser.parse_args()
    contests = []
    for name in options.networks:
        contenders = {f"{name}/float32": step(name, None), f"{name}/bf16": step(name, torch.bfloat16)}
        contests.append(harness.time_interleaved(contenders, options.rounds))
    harness.report(*contests, images=BATCH, as_json=options.json)


if __name__ == "__main__":
    main()
