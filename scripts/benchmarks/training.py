"""Times greenedge's training loop against two written by hand: ResNet-18 at 64 px, batch 256, Adam, one exit.

`bare` trains the same model in the same precision and layout from uint8 tensors in memory: it normalises each batch and
makes a step, without augmentation, file access, accuracy or progress. greenedge also flips and crops.
`imagefolder_float32` is the usual float32 loop over ImageFolder and a DataLoader. greenedge keeps freed memory
(memory.py); so does `bare_kept`, which shows the cost of the loop itself.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import harness
import torch
import torchvision
from allocation import return_freed_memory
from images import Images, training_images
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from greenedge.augment.geometric import horizontal_flip, pad_and_crop
from greenedge.config import ModelConfig
from greenedge.data.loader import InputTransform
from greenedge.device.memory import disable_malloc_trim
from greenedge.device.precision import choose_autocast
from greenedge.models.multi_exit import build_network
from greenedge.training.loop import fit
from greenedge.training.losses import cross_entropy
from greenedge.training.optimizers import adam
from greenedge.training.settings import TrainSettings
from greenedge.training.state import new_state

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 256


def greenedge(images: Images, rounds: int, autocast: torch.dtype | None) -> Callable[[], object]:
    network = build_network(ModelConfig("resnet18"), len(images.prepared.classes), 64)
    network = network.to(memory_format=torch.channels_last)
    settings = TrainSettings(
        epochs=rounds,
        batch_size=BATCH,
        seed=0,
        augment=(horizontal_flip, partial(pad_and_crop, padding=4)),
        transform=InputTransform(64, MEAN, STD, channels_last=True),
        loss=cross_entropy,
        exit_weights=(1.0,),
        learning_rate=lambda *_: 0.001,
        autocast=autocast,
    )
    epochs = fit(new_state(network, adam(network), None), images.prepared, settings, lambda: False)
    return lambda: next(epochs)


def bare(images: Images, autocast: torch.dtype | None) -> Callable[[], object]:
    pixels, labels = torch.from_numpy(images.prepared.images.copy()), torch.from_numpy(images.prepared.labels)
    network = torchvision.models.resnet18(num_classes=len(images.prepared.classes))
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001, fused=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    scale, shift = 1 / (std * 255), mean / std

    def epoch() -> None:
        for rows in torch.randperm(len(labels)).split(BATCH)[: len(labels) // BATCH]:
            batch = pixels.index_select(0, rows).float().mul_(scale).sub_(shift)
            batch = batch.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", autocast, enabled=autocast is not None):
                loss = F.cross_entropy(network(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def imagefolder_float32(images: Images) -> Callable[[], object]:
    usual = [
        transforms.RandomHorizontalFlip(),
        transforms.RandomCrop(64, padding=4),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    data = ImageFolder(images.folder, transforms.Compose(usual))
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)
    network = torchvision.models.resnet18(num_classes=len(data.classes))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)

    def batches() -> Iterator[list[torch.Tensor]]:
        while True:
            yield from loader

    endless, steps = batches(), len(images.prepared) // BATCH

    def epoch() -> None:
        for pixels, labels in itertools.islice(endless, steps):
            loss = F.cross_entropy(network(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def main() -> None:
    options = harness.parser(__doc__, rounds=7).parse_args()
    with tempfile.TemporaryDirectory() as work:
        images = training_images(Path(work), per_class=8)
        network = torchvision.models.resnet18()
        autocast = choose_autocast("auto", network, torch.device("cpu"))
        contenders = {
            "greenedge": greenedge(images, options.rounds + 1, autocast),
            "bare_kept": bare(images, autocast),
            "bare": bare(images, autocast),
            "imagefolder_float32": imagefolder_float32(images),
        }
        keeping = ("greenedge", "bare_kept")
        before = {name: disable_malloc_trim if name in keeping else return_freed_memory for name in contenders}
        medians = harness.time_interleaved(contenders, options.rounds, before)
        harness.report(medians, images=len(images.prepared) // BATCH * BATCH, as_json=options.json)


if __name__ == "__main__":
    main()
