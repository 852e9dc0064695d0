"""Times what the paper's augmentations (two flips, CutMix) add to a training step of ResNet-18 at 64 px, batch 256.

`plain` and `augmented` are whole steps that start from uint8 images; `augmentations` times only the augmentations.
"""

from __future__ import annotations

from functools import partial

import harness
import torch
from torch.nn import functional as F

from greenedge.augment.geometric import horizontal_flip, vertical_flip
from greenedge.augment.mixing import cutmix
from greenedge.config import ModelConfig
from greenedge.data.loader import Batch, InputTransform
from greenedge.device.memory import disable_malloc_trim
from greenedge.device.precision import choose_autocast
from greenedge.models.multi_exit import build_network
from greenedge.training.optimizers import adam

BATCH, CLASSES, PIXELS = 256, 200, 64
PAPER = (partial(horizontal_flip, probability=0.25), partial(vertical_flip, probability=0.25), cutmix)


def main() -> None:
    options = harness.parser(__doc__, rounds=15).parse_args()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (BATCH, 3, PIXELS, PIXELS), dtype=torch.uint8, generator=generator)
    stored = Batch(pixels, torch.randint(CLASSES, (BATCH,), generator=generator), CLASSES)
    network = build_network(ModelConfig("resnet18"), CLASSES, PIXELS).train().to(memory_format=torch.channels_last)
    transform = InputTransform(PIXELS, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), channels_last=True)
    autocast = choose_autocast("auto", network, torch.device("cpu"))
    optimizer = adam(network)

    def augment(batch: Batch) -> Batch:
        for augmentation in PAPER:
            batch = augmentation(batch, generator)
        return batch

    def step(batch: Batch) -> None:
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            (logits,) = network(transform(batch.images))
        loss = F.cross_entropy(logits.float(), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    disable_malloc_trim()  # as training does
    contenders = {
        "plain": lambda: step(stored),
        "augmented": lambda: step(augment(stored)),
        "augmentations": lambda: augment(stored),
    }
    harness.report(harness.time_interleaved(contenders, options.rounds), images=BATCH, as_json=options.json)


if __name__ == "__main__":
    main()
