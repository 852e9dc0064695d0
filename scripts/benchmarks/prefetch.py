"""Times training steps on a CPU whose batches are read when they are asked for, and by a thread before that.

Each timing is an epoch of ResNet-18 with one exit over prepared images at 64 px, in batches of 64, with every image
compared with its digest, as in the first epoch of a training. `network` makes the same steps on one batch that is
there already: what no way of reading can beat.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import harness
import torch
from images import training_images
from torch import Tensor
from torch.nn import functional as F

from greenedge.config import ExitConfig, ModelConfig
from greenedge.data.ahead import map_ahead
from greenedge.data.loader import InputTransform
from greenedge.device.memory import disable_malloc_trim
from greenedge.device.precision import choose_autocast
from greenedge.models.multi_exit import build_network
from greenedge.training.optimizers import adam

BATCH, PIXELS, MEAN, STD = 64, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = harness.parser(__doc__, rounds=7)
    parser.add_argument("--per-class", type=int, default=5, help="images of each of the 200 classes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        split = training_images(Path(work), per_class=options.per_class).prepared
        rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(0)).numpy()
        batches = [rows[start : start + BATCH] for start in range(0, len(rows) - BATCH, BATCH)]
        network = build_network(ModelConfig("resnet18", exits=(ExitConfig("layer1"),)), len(split.classes), PIXELS)
        network = network.train().to(memory_format=torch.channels_last)
        transform = InputTransform(PIXELS, MEAN, STD, channels_last=True)
        autocast = choose_autocast("auto", network, torch.device("cpu"))
        optimizer = adam(network)

        def read(threads: int) -> Iterator[Tensor]:
            found = map_ahead(lambda chosen: torch.from_numpy(split.read(chosen)), batches, threads=threads, ahead=2)
            with closing(found) as images:
                yield from images

        def train(images: Iterable[Tensor]) -> None:
            for chosen, pixels in zip(batches, images, strict=True):
                targets = torch.from_numpy(split.labels[chosen])
                with torch.autocast("cpu", autocast, enabled=autocast is not None):
                    loss = torch.stack([F.cross_entropy(each, targets) for each in network(transform(pixels))]).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        disable_malloc_trim()  # as training does
        there = torch.from_numpy(split.read(batches[0]))
        contenders = {
            "read when asked for": lambda: train(read(0)),
            "read by a thread": lambda: train(read(1)),
            "network": partial(train, [there] * len(batches)),
        }
        medians = harness.time_interleaved(contenders, options.rounds)
        harness.report(medians, images=BATCH * len(batches), as_json=options.json)


if __name__ == "__main__":
    main()
