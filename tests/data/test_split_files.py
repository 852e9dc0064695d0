"""Validation images that are set aside while all images are read once."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import check_images, image_paths, open_prepared
from greenedge.data.tree import SourceTree
from greenedge.errors import DataError, UsageError
from tests.conftest import write_image
from tests.data.sources import pixels, refusal


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Class folders without splits: 3 classes of 12 images, of which cat/3 cannot be used."""
    root = tmp_path / "pets"
    for label, name in enumerate(("cat", "dog", "emu")):
        for index in range(12):
            write_image(root / name / f"{index:02}.png", seed=20 * label + index)
    (root / "cat" / "03.png").write_bytes(b"no image")
    return root


def by_hand(root: Path, name: str, seed: int, wanted: int) -> tuple[list[Path], list[Path]]:
    """The training and validation images of a class, as the documentation says it."""
    paths = sorted((root / name).iterdir())

    def place(path: Path) -> bytes:
        return hashlib.sha256(f"{seed}:".encode() + hashlib.sha256(path.read_bytes()).digest()).digest()

    val = sorted(paths, key=place)[:wanted]
    return [path for path in paths if path not in val], sorted(val)


@pytest.mark.parametrize(("classes", "per_class"), [(None, None), (2, None), (None, 5), (2, 5)])
@pytest.mark.parametrize("seed", [0, 3, 8])
def test_write_with_val_aside_chooses_by_the_digests_of_files(
    classes: int | None, per_class: int | None, seed: int, pets: Path, tmp_path: Path
) -> None:
    options = PrepareOptions(64, classes, per_class, skip_bad=True, val_fraction=0.25, split_seed=seed)
    manifest = prepare([pets], tmp_path / "out", options)
    data = open_prepared(tmp_path / "out")
    skipped = 0
    for split, name in enumerate(("train", "val")):
        expected = []
        for label, folder in enumerate(("cat", "dog", "emu")[:classes]):
            chosen = by_hand(pets, folder, seed, 3)[split]
            expected += [(path, label) for path in (chosen if name == "val" else chosen[:per_class])]
        kept = [(path, label) for path, label in expected if path != pets / "cat" / "03.png"]
        skipped += len(expected) - len(kept)
        paths = [f"train/{path.relative_to(pets).as_posix()}" for path, _ in kept]
        assert image_paths(data.split(name)) == paths
        assert data.split(name).labels.tolist() == [label for _, label in kept]
        np.testing.assert_array_equal(data.split(name).images, np.stack([pixels(path) for path, _ in kept]))
    assert manifest["skipped"] == skipped
    check_images(tmp_path / "out")


def test_write_with_val_aside_reads_each_image_once(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[str] = Counter()
    read = SourceTree.read

    def count(tree: SourceTree, path: str) -> bytes:
        reads[path] += 1
        return read(tree, path)

    monkeypatch.setattr(SourceTree, "read", count)
    prepare([pets], tmp_path / "out", PrepareOptions(skip_bad=True))
    assert len(reads) == 36
    assert set(reads.values()) == {1}


@pytest.mark.parametrize("write", ["copy", "compact"])
def test_write_with_val_aside_leaves_nothing_on_a_full_disk(
    write: str, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pets / "cat" / "03.png").unlink()
    pwrite, pread, calls = os.pwrite, os.pread, []

    def watched(file: int, count: int, offset: int) -> bytes:
        calls.append(offset)  # images are read again only to be moved: 3 to the other file, then the rest within
        return pread(file, count, offset)

    def fill_up(file: int, view: memoryview, offset: int) -> int:
        if len(calls) > (0 if write == "copy" else 3):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(file, view, offset)

    monkeypatch.setattr(os, "pread", watched)
    monkeypatch.setattr(os, "pwrite", fill_up)
    message = refusal(tmp_path, pets)
    assert len(calls) == (1 if write == "copy" else 4)
    assert "No space left on device" in message


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_val_fraction_is_refused_before_any_image_is_read(fraction: float, pets: Path, tmp_path: Path) -> None:
    (pets / "cat" / "03.png").chmod(0)
    with pytest.raises(UsageError, match="expected a number between 0 and 1"):
        prepare([pets], tmp_path / "out", PrepareOptions(val_fraction=fraction))
    assert list(tmp_path.iterdir()) == [pets]


def test_write_with_val_aside_refuses_more_than_are_left(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="12 training images per class were asked for, but 'cat' has 11"):
        prepare([pets], tmp_path / "out", PrepareOptions(per_class=12))
    assert list(tmp_path.iterdir()) == [pets]
