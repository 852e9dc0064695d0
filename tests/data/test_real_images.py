from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from tests.conftest import needs_real_images


def read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with Image.open(io.BytesIO(archive.read(name))) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


@needs_real_images
def test_prepare_reads_a_subset_of_tiny_imagenet_from_its_zips(real_images: Path, tmp_path: Path) -> None:
    prepare(
        [real_images / "val.zip", real_images / "train-0.zip"],
        tmp_path / "out",
        PrepareOptions(classes=5, per_class=20),
    )
    data = open_prepared(tmp_path / "out")
    assert len(data.classes) == 5
    assert {c.id: c.name for c in data.classes}["n01443537"] == "goldfish, Carassius auratus"

    with zipfile.ZipFile(real_images / "val.zip") as archive:
        top = "tiny-imagenet-200"
        wnids = sorted(archive.read(f"{top}/wnids.txt").decode().split())[:5]
        rows = [line.split("\t") for line in archive.read(f"{top}/val/val_annotations.txt").decode().splitlines()]
        wanted = sorted((row[0], row[1]) for row in rows if row[1] in wnids)
        val = np.stack([read(archive, f"{top}/val/images/{name}") for name, _ in wanted])
    assert [c.id for c in data.classes] == wnids
    assert len(wanted) == 250
    np.testing.assert_array_equal(data.split("val").images, val)
    assert data.split("val").labels.tolist() == [wnids.index(wnid) for _, wnid in wanted]

    with zipfile.ZipFile(real_images / "train-0.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".JPEG"))
        first = [[n for n in names if f"/{wnid}/" in n][:20] for wnid in wnids]
        train = np.stack([read(archive, name) for of_class in first for name in of_class])
    np.testing.assert_array_equal(data.split("train").images, train)
    assert data.split("train").labels.tolist() == np.repeat(range(5), 20).tolist()
