"""Times what ways of mixing images cost in a step of ResNet-18 with three exits at 64 px, batch 128.

`automix (mixtures alone)` learns from the mixtures only (`clean_weight: 0`); the other learned ones are as by default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import harness
import torch

from greenedge.augment.mixing import cutmix, mixup, resizemix
from greenedge.augment.pairing import PairedBatch, automix, samix
from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.data.loader import Batch, InputTransform
from greenedge.device.memory import disable_malloc_trim
from greenedge.device.precision import choose_autocast
from greenedge.models.multi_exit import build_network
from greenedge.training.learned_mixing import LearnedMixing
from greenedge.training.losses import cross_entropy
from greenedge.training.optimizers import adamw
from greenedge.training.settings import TrainSettings
from greenedge.training.state import new_state
from greenedge.training.step import make_step

BATCH, CLASSES, PIXELS = 128, 200, 64
EXITS = tuple(ExitConfig(after, Component("light")) for after in ("layer1", "layer2", "layer3"))
MIXINGS: dict[str, tuple[Callable[..., Batch], ...]] = {
    "none": (),
    "mixup": (mixup,),
    "cutmix": (cutmix,),
    "resizemix": (resizemix,),
    "automix (mixtures alone)": (partial(automix, clean_weight=0.0),),
    "automix": (automix,),
    "samix": (samix,),
}


def main() -> None:
    options = harness.parser(__doc__, rounds=9).parse_args()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (BATCH, 3, PIXELS, PIXELS), dtype=torch.uint8, generator=generator)
    batch = Batch(pixels, torch.randint(CLASSES, (BATCH,), generator=generator), CLASSES)
    disable_malloc_trim()  # as training does
    contenders = {name: step(augment, batch) for name, augment in MIXINGS.items()}
    harness.report(harness.time_interleaved(contenders, options.rounds), images=BATCH, as_json=options.json)


def step(augment: tuple[Callable[..., Batch], ...], batch: Batch) -> Callable[[], object]:
    network = build_network(ModelConfig("resnet18", exits=EXITS), CLASSES, PIXELS)
    network = network.train().to(memory_format=torch.channels_last)
    state = new_state(network, adamw(network), None)
    for each in augment:
        drawn = each(batch, torch.Generator().manual_seed(0))
        if isinstance(drawn, PairedBatch):
            state.mixing = LearnedMixing(network, drawn.settings)
            state.mixing.add_to(state.optimizer)
    settings = TrainSettings(
        epochs=1,
        batch_size=BATCH,
        seed=0,
        augment=augment,
        transform=InputTransform(PIXELS, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), channels_last=True),
        loss=cross_entropy,
        exit_weights=(1.0,) * network.num_exits,
        learning_rate=lambda *_: 0.001,
        autocast=choose_autocast("auto", network, torch.device("cpu")),
    )
    return lambda: make_step(state, network, batch, settings, 0.001)


if __name__ == "__main__":
    main()
