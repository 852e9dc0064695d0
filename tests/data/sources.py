"""Helpers that make sources, read them independently and return their errors."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from greenedge.errors import DataError
from tests.conftest import write_image


def zip_folder(
    folder: Path, out: Path, keep: Callable[[str], bool] = lambda _: True, method: int = zipfile.ZIP_STORED
) -> Path:
    """Zips the files of `folder` whose paths are to be kept, below one top folder."""
    with zipfile.ZipFile(out, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            inner = path.relative_to(folder).as_posix()
            if path.is_file() and keep(inner):
                archive.write(path, f"{folder.name}/{inner}")
    return out


def write_class_folders(root: Path) -> Path:
    """A class-per-folder data set: 2 classes, 3 training and 2 validation images each."""
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("cat", "dog")):
            for index in range(count):
                write_image(root / split / name / f"{index}.png", seed=10 * label + index + count)
    return root


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def read_official(root: Path) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Reads TinyImageNet's layout directly: images by path, labels by sorted wnid."""
    wnids = sorted((root / "wnids.txt").read_text().split())
    annotations = (root / "val" / "val_annotations.txt").read_text().splitlines()
    wnid_of = dict(line.split("\t")[:2] for line in annotations)
    train = sorted(str(path) for path in root.glob("train/*/images/*"))
    val = sorted(str(path) for path in root.glob("val/images/*"))
    return {
        "train": (
            np.stack([pixels(Path(p)) for p in train]),
            [wnids.index(Path(p).parent.parent.name) for p in train],
        ),
        "val": (
            np.stack([pixels(Path(p)) for p in val]),
            [wnids.index(wnid_of[Path(p).name]) for p in val],
        ),
    }


def assert_holds(folder: Path, expected: dict[str, tuple[np.ndarray, list[int]]]) -> None:
    data = open_prepared(folder)
    assert set(data.splits) == set(expected)
    for name, (images, labels) in expected.items():
        np.testing.assert_array_equal(data.splits[name].images, images)
        assert data.splits[name].labels.tolist() == labels


def is_one_sentence(text: str) -> bool:
    return text != "" and not re.search(r"[\r\n]|[.!?] +[A-Z]|None|Traceback", text)


def refusal(tmp_path: Path, *sources: Path, options: PrepareOptions | None = None) -> str:
    """Returns the error sentence of `sources`, and checks that nothing was left behind."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as caught:
        prepare(sources, tmp_path / "out", options)
    assert sorted(tmp_path.rglob("*")) == before
    assert caught.value.exit_code == 1
    assert is_one_sentence(str(caught.value))
    return str(caught.value)
