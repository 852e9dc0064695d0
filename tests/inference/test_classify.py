from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from greenedge.data.image_files import FailedImage
from greenedge.data.loader import InputTransform
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.classify import ImagePrediction, classify_files
from greenedge.inference.engine import Engine
from tests.conftest import write_image
from tests.inference.helpers import random_network


def test_classify_files_holds_few_images_of_many(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, 0, size=(32, 32))
    engine = Engine(random_network("resnet18", "layer1"), ExitPolicy("entropy", (0.0,)))
    alive: list[weakref.ref[Tensor]] = []

    class Watched(InputTransform):
        def __call__(self, images: Tensor) -> Tensor:
            batch = super().__call__(images)
            alive.append(weakref.ref(batch))
            return batch

    read = most = 0

    def files() -> Iterator[Path]:
        nonlocal read
        for _ in range(3000):
            read += 1
            yield path

    given = 0
    transform = Watched(32, (0.0,) * 3, (1.0,) * 3)
    for each in classify_files(engine, transform, files(), 32, batch_size=50):
        assert isinstance(each, ImagePrediction)
        given += 1
        most = max(most, read - given)
    assert given == 3000
    assert most <= 1024 + 5 * 50  # what the engine holds back, and the batches before and behind it
    assert sum(batch() is not None for batch in alive) <= 2


def test_classify_files_gives_one_for_each_in_their_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = random_network("resnet18", "layer1")
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for index, path in enumerate(paths):
        write_image(path, index, size=(32, 32))
    bad = FailedImage(Path("bad"), "bad: no file matches")
    given: list[Path | FailedImage] = [bad, bad, bad, *paths[:4], bad, *paths[4:], bad, bad]
    transform = InputTransform(32, (0.5,) * 3, (0.3,) * 3)

    for limit in (0.0, 0.9, 9.0):
        engine = Engine(network, ExitPolicy("entropy", (limit,)))
        singles = {path: next(iter(classify_files(engine, transform, [path], 32, 1))) for path in paths}
        for batch_size in (1, 2, 3, 100):
            found = list(classify_files(engine, transform, given, 32, batch_size))
            for each, source in zip(found, given, strict=True):
                if isinstance(source, FailedImage):
                    assert each is source
                    continue
                alone = singles[source]
                assert isinstance(each, ImagePrediction)
                assert isinstance(alone, ImagePrediction)
                assert (each.image, each.class_index, each.exit_index) == (source, alone.class_index, alone.exit_index)
