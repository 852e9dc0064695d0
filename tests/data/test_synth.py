from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from greenedge.data.prepare import prepare
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.data.synth import SynthOptions, synthesize
from greenedge.errors import DataError, UsageError
from tests.data.sources import assert_holds, is_one_sentence, pixels, read_official

NAMES = ["triangle", "square", "hexagon", "disc", "bar"]


def images(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.JPEG")}


def noise(image: np.ndarray) -> float:
    """Measures how much neighbouring pixels differ; the median ignores the edges of shapes."""
    return float(np.median(np.abs(np.diff(image.astype(float), axis=-1))))


def tint(split: PreparedSplit) -> np.ndarray:
    """Returns the direction from grey to each image's mean colour, (N, 3)."""
    mean = np.asarray(split.images, dtype=float).mean(axis=(2, 3))
    departure = mean - mean.mean(axis=1, keepdims=True)
    return departure / np.linalg.norm(departure, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generates five classes of 40 and 20 images, to be read only."""
    out = tmp_path_factory.mktemp("synth") / "graded"
    synthesize(out, SynthOptions(classes=5, per_class=40, val_per_class=20, seed=3))
    return out


def test_synthesize_writes_a_source_that_prepare_reads(graded: Path, tmp_path: Path) -> None:
    prepare([graded], tmp_path / "out")
    assert_holds(tmp_path / "out", read_official(graded))
    data = open_prepared(tmp_path / "out")
    assert [info.name for info in data.classes] == NAMES
    assert np.bincount(data.split("train").labels).tolist() == [40] * 5
    assert np.bincount(data.split("val").labels).tolist() == [20] * 5


def test_synthesize_writes_coloured_jpegs_of_tinyimagenets_size(graded: Path) -> None:
    for path in graded.rglob("*.JPEG"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))


def test_synthesize_accepts_one_image_of_each_of_all_classes(tmp_path: Path) -> None:
    synthesize(tmp_path / "a", SynthOptions(per_class=1, val_per_class=1))
    manifest = prepare([tmp_path / "a"], tmp_path / "out")
    assert len({info["name"] for info in manifest["classes"]}) == 10
    assert {name: split["images"] for name, split in manifest["splits"].items()} == {"train": 10, "val": 10}


def test_synthesize_depends_on_the_seed_alone(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthesize(tmp_path / name, SynthOptions(2, 5, 5, seed))
    first, again, other = (images(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_synthesize_repeats_no_image_within_or_across_splits(tmp_path: Path) -> None:
    synthesize(tmp_path / "a", SynthOptions(2, 6, 6))
    arrays = [pixels(tmp_path / "a" / name).astype(float) for name in images(tmp_path / "a")]
    assert len(arrays) == 24
    for one, other in itertools.combinations(arrays, 2):
        assert np.abs(one - other).mean() > 1


def test_synthesize_makes_later_images_of_each_class_noisier(graded: Path) -> None:
    for folder in (graded / "train").iterdir():
        levels = [noise(pixels(folder / "images" / f"{folder.name}_{index}.JPEG")) for index in range(40)]
        assert np.mean(levels[-4:]) > 2 * np.mean(levels[:4])
        assert np.corrcoef(levels, np.arange(40))[0, 1] > 0.9


def test_synthesize_colours_easy_images_by_class_but_not_hard_ones(graded: Path, tmp_path: Path) -> None:
    prepare([graded], tmp_path / "out")
    data = open_prepared(tmp_path / "out")
    train, val = data.split("train"), data.split("val")
    centres = np.stack([tint(train)[np.asarray(train.labels) == label].mean(axis=0) for label in range(5)])
    right = np.argmax(tint(val) @ centres.T, axis=1) == val.labels
    numbers = [int(Path(line.split("\t")[0]).stem.removeprefix("val_")) % 20 for line in lines(graded)]
    by_number = dict.fromkeys(range(20), 0)
    for number, hit in zip(numbers, right[order(graded)], strict=True):
        by_number[number] += int(hit)
    easy, hard = (sum(by_number[n] for n in part) / 25 for part in (range(5), range(15, 20)))
    assert easy > 0.9
    assert hard < easy - 0.2


def lines(root: Path) -> list[str]:
    return (root / "val" / "val_annotations.txt").read_text().splitlines()


def order(root: Path) -> list[int]:
    """Returns the row of each annotated image in sorted order, as in a prepared data set."""
    names = [line.split("\t")[0] for line in lines(root)]
    return [sorted(names).index(name) for name in names]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SynthOptions(classes=1), "between 2 and 10 classes can be generated, not 1"),
        (SynthOptions(classes=11), "between 2 and 10 classes can be generated, not 11"),
        (SynthOptions(classes=-3), "not -3"),
        (SynthOptions(per_class=0), "at least one training and one validation image"),
        (SynthOptions(seed=-1), "a seed is a whole number of at least 0, not -1"),
        (SynthOptions(val_per_class=-1), "at least one training and one validation image"),
    ],
)
def test_synthesize_refuses_options_out_of_range(tmp_path: Path, options: SynthOptions, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        synthesize(tmp_path / "a", options)
    assert words in str(caught.value)
    assert is_one_sentence(str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_synthesize_refuses_and_keeps_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="a: exists already; choose another --out, or remove it first"):
        synthesize(tmp_path / "a", SynthOptions(2, 1, 1))
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "mine.txt"]


def test_synthesize_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file/a: cannot be created: "):
        synthesize(tmp_path / "file" / "a", SynthOptions(2, 1, 1))


def failing_after(count: int, error: BaseException) -> Callable[..., None]:
    save, calls = Image.Image.save, itertools.count(1)

    def write(self: Image.Image, *arguments: Any, **options: Any) -> None:
        if next(calls) > count:
            raise error
        save(self, *arguments, **options)

    return write


def test_synthesize_leaves_nothing_after_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "save", failing_after(5, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "deep" / "a", SynthOptions(2, 3, 3))
    assert list(tmp_path.iterdir()) == []


def test_synthesize_leaves_nothing_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(Image.Image, "save", failing_after(5, full))
    with pytest.raises(DataError, match=r"a: cannot be written: No space left on device; nothing was kept$"):
        synthesize(tmp_path / "a", SynthOptions(2, 3, 3))
    assert list(tmp_path.iterdir()) == []
