"""What training reads: the same images whoever reads them, when, and after whatever interruption."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from torch import Generator, Tensor

from greenedge.augment import AUGMENTATIONS
from greenedge.data.crops import RandomCrops
from greenedge.data.decode import decode_image
from greenedge.data.loader import Batch
from greenedge.data.originals import ORIGINALS
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import PreparedSplit, image_paths, open_prepared
from greenedge.errors import DataError
from greenedge.training.seeds import derive_seed
from tests.conftest import write_official_layout
from tests.training.helpers import differing, settings, tiny_state, train, train_split

AUGMENT = tuple(AUGMENTATIONS[name] for name in ("horizontal_flip", "pad_and_crop", "mixup"))
CROPS = RandomCrops(0.08, 4 / 3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_official_layout(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 training originals of 64 px."""
    out = tmp_path_factory.mktemp("originals") / "data"
    prepare([source], out, PrepareOptions(size=16, store=ORIGINALS))
    return out


@pytest.fixture
def split(folder: Path) -> PreparedSplit:
    return open_prepared(folder).split("train")


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("greenedge-ahead")]


def test_fit_is_the_same_to_the_last_bit_with_batches_read_ahead(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for threads in (0, 1, 2):
        monkeypatch.setattr("greenedge.data.loader._threads", lambda *_, threads=threads: threads)
        states.append(tiny_state())
        train(states[-1], train_split(prepared), settings(epochs=2, augment=AUGMENT))
        assert ours() == []
    assert differing(states[0], states[1]) == differing(states[0], states[2]) == []


@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_fit_on_originals_resumes_to_the_last_bit_with_other_threads(
    split: PreparedSplit, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = settings(epochs=2, augment=AUGMENT, crops=CROPS)
    whole, interrupted, plain = tiny_state(), tiny_state(), tiny_state()
    train(whole, split, setting)
    train(plain, split, settings(epochs=2, augment=AUGMENT))
    assert differing(whole, plain)

    monkeypatch.setattr("greenedge.data.loader.usable_cpus", lambda: 3)
    train(interrupted, split, setting, stop_after=stop_after)
    assert differing(whole, interrupted)
    assert ours() == []
    train(interrupted, split, setting)
    assert differing(whole, interrupted) == []


def test_fit_sees_crops_of_seed_epoch_and_image(source: Path, split: PreparedSplit) -> None:
    seen: list[Tensor] = []

    def watch(batch: Batch, _: Generator) -> Batch:
        seen.append(batch.images)
        return batch

    train(tiny_state(), split, settings(epochs=2, seed=9, batch_size=36, augment=(watch,), crops=CROPS))
    paths = image_paths(split)
    assert paths is not None
    for epoch, images in enumerate(seen):
        crops = RandomCrops(0.08, 4 / 3, derive_seed(9, "crop", epoch))
        expected = {
            decode_image((source / path).read_bytes(), path, 16, partial(crops.box, row)).tobytes()
            for row, path in enumerate(paths)
        }
        assert {image.tobytes() for image in images.numpy()} == expected
        assert len(expected) == 36


def test_fit_raises_what_a_reading_thread_meets(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare([source], tmp_path / "data", PrepareOptions(size=16, store=ORIGINALS))
    path = tmp_path / "data" / "train-originals.bin"
    content = bytearray(path.read_bytes())
    offsets = np.load(tmp_path / "data" / "train-offsets.npy")
    content[offsets[20] + 200] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match="image 20 of its train images is damaged; prepare the data set again"):
        train(tiny_state(), open_prepared(tmp_path / "data").split("train"), settings(batch_size=9))
    assert ours() == []


def test_fit_on_originals_ends_its_threads_when_it_is_interrupted(split: PreparedSplit) -> None:
    def interrupt(_batch: Batch, _generator: Generator) -> Batch:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        train(tiny_state(), split, settings(augment=(interrupt,), crops=CROPS))
    del caught
    assert ours() == []
