"""Tests that need a GPU: a training step copies without waiting."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch

from greenedge.augment import AUGMENTATIONS, LEARNED
from greenedge.augment.pairing import PairedBatch
from greenedge.data.loader import iterate_batches
from greenedge.training.learned_mixing import LearnedMixing
from greenedge.training.optimizers import adamw
from greenedge.training.state import new_state
from greenedge.training.step import make_step
from tests.training.helpers import settings, tiny_network, train_split

AUGMENT = ("horizontal_flip", "pad_and_crop", "brightness", "gaussian_noise")


@pytest.mark.gpu
@pytest.mark.parametrize("mixing", ["cutmix", "automix", "samix"])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_step_does_not_make_the_host_wait(prepared: Path, mixing: str) -> None:
    device = torch.device("cuda")
    network = tiny_network().to(device)
    state = new_state(network, adamw(network, lr=0.01), 0.9)
    setting = settings(augment=tuple(AUGMENTATIONS[name] for name in (*AUGMENT, mixing)))
    batches = iterate_batches(train_split(prepared), 12, device=device)
    if mixing in LEARNED:
        pairs = AUGMENTATIONS[mixing](next(batches), torch.Generator())
        state.mixing = LearnedMixing(network, cast(PairedBatch, pairs).settings)
        state.mixing.add_to(state.optimizer)
    make_step(state, network, next(batches), setting, 0.01)  # allocates, and makes the constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            make_step(state, network, batch, setting, 0.01)
    finally:
        torch.cuda.set_sync_debug_mode("default")
