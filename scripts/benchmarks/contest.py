"""The ResNet-50 of engine.py and backends.py, and contests between what runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import baselines
import harness
import torch
from allocation import return_freed_memory
from torch import Tensor

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.device.memory import disable_malloc_trim
from greenedge.models.multi_exit import MultiExitNetwork, build_network

SINGLES = 16  # images that are run one by one where the batch is 1


def make_network(image_size: int) -> MultiExitNetwork:
    """200 classes, random weights of seed 0, `linear` heads after layer1, layer2 and layer3."""
    torch.manual_seed(0)
    exits = tuple(ExitConfig(stage, Component("linear")) for stage in ("layer1", "layer2", "layer3"))
    return build_network(ModelConfig("resnet50", exits=exits), baselines.CLASSES, image_size).eval()


def make_images(image_size: int, batches: Sequence[int]) -> Tensor:
    """As many as the largest batch takes."""
    return torch.randn(max(*batches, SINGLES), 3, image_size, image_size)


def time_batches(
    contenders: Mapping[str, Callable[[Tensor], object]],
    images: Tensor,
    batches: Sequence[int],
    rounds: int,
    keeps_memory: Callable[[str], bool],
) -> list[dict[str, float]]:
    """Median seconds of each contender, by `NAME/64px/b8`, for each batch size.

    Args:
        contenders: name -> from images to anything.
        images: (N, 3, S, S).
        batches: images per batch.
        rounds: timings of each contender.
        keeps_memory: whether freed memory is kept in the process of the contender of that name.
    """
    contests = []
    for batch in batches:
        names = {name: f"{name}/{images.shape[-1]}px/b{batch}" for name in contenders}
        turns = {names[name]: partial(_run, run, images, batch) for name, run in contenders.items()}
        before = {names[name]: partial(_settle, turns[names[name]], keeps=keeps_memory(name)) for name in contenders}
        contests.append(harness.time_interleaved(turns, rounds, before))
    return contests


def _settle(run: Callable[[], object], *, keeps: bool) -> None:
    """Sets the allocator as in this contender's own process, and runs it once, so that the caches are its own."""
    disable_malloc_trim() if keeps else return_freed_memory()
    run()


def _run(run: Callable[[Tensor], object], images: Tensor, batch: int) -> None:
    if batch > 1:
        run(images[:batch])
        return
    for image in images[:SINGLES].split(1):
        run(image)
