"""Originals: kept as they are, decoded when they are read."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from greenedge.data.decode import decode_image
from greenedge.data.loader import iterate_batches
from greenedge.data.originals import ARRAYS, ORIGINALS
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import check_images, image_paths, open_prepared
from greenedge.data.splits import source_digest
from greenedge.errors import DataError, UsageError

SIZES = ((130, 90), (64, 64), (40, 150), (300, 260))
KINDS = ("rgb.jpg", "grey.jpg", "turned.jpg", "alpha.png", "palette.png", "sixteen.png")


def write_photos(root: Path, *, count: int = 6) -> Path:
    """Two classes of images of many sizes and kinds, `count` for training and half as many for validation each."""
    for label, name in enumerate(("cat", "dog")):
        for split, images in (("train", count), ("val", count // 2)):
            for index in range(images):
                kind = KINDS[index % len(KINDS)]
                path = root / split / name / f"{index}-{kind}"
                _write(path, kind.split(".")[0], SIZES[index % len(SIZES)], 100 * label + index + len(split))
    return root


def _write(path: Path, kind: str, size: tuple[int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    if kind == "turned":
        exif[0x0112] = 6
    if kind == "sixteen":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)
        return
    if kind == "alpha":
        image.putalpha(image.getchannel("R"))
    modes = {"grey": "L", "palette": "P"}
    image = image.convert(modes[kind]) if kind in modes else image
    image.save(path, exif=exif)


def kept(folder: Path, *, size: int = 32, skip_bad: bool = False) -> Path:
    prepare([folder / "raw"], folder / "kept", PrepareOptions(size=size, skip_bad=skip_bad, store=ORIGINALS))
    return folder / "kept"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "raw")
    return tmp_path


def test_originals_are_read_as_arrays_prepared_at_that_size(photos: Path) -> None:
    data = open_prepared(kept(photos))
    for size in (32, 48):
        prepare([photos / "raw"], photos / f"arrays-{size}", PrepareOptions(size=size))
        arrays = open_prepared(photos / f"arrays-{size}")
        for name, split in data.sized(size).splits.items():
            other = arrays.split(name)
            np.testing.assert_array_equal(split.read(split.rows), other.images)
            assert split.image_size == other.image_size == size
            assert split.labels.tolist() == other.labels.tolist()
            assert image_paths(split) == image_paths(other)
            assert source_digest(split) == source_digest(other)
    assert data.split("val").image_size == data.image_size == 32
    assert arrays.sized(24).split("val").image_size == 48


def test_originals_hold_every_file_byte_for_byte(photos: Path) -> None:
    folder = kept(photos)
    split = open_prepared(folder).split("train")
    paths = image_paths(split)
    assert split.originals is not None
    assert paths is not None
    for row, path in enumerate(paths):
        assert split.originals.file(row) == (photos / "raw" / path).read_bytes()
    total = sum((photos / "raw" / path).stat().st_size for path in paths)
    assert (folder / "train-originals.bin").stat().st_size == total
    assert np.load(folder / "train-offsets.npy").dtype == np.int64


def test_originals_manifest_names_store_and_sides(photos: Path) -> None:
    manifest = json.loads((kept(photos) / "manifest.json").read_text())
    assert (manifest["store"], manifest["image_size"]) == ("originals", 32)
    sides = []
    for path in (photos / "raw").rglob("*.*"):
        with Image.open(path) as image:
            sides.append(min(image.size))
    assert manifest["shorter_sides"] == {
        "smallest": min(sides),
        "median": int(np.median(sides)),
        "largest": max(sides),
    }


def test_iterate_batches_of_originals_keeps_the_order(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = open_prepared(kept(photos)).split("train")
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    expected = split.read(split.rows)
    for threads, batch_size in itertools.product((1, 2, 5), (1, 3, 9, 12, 100)):
        monkeypatch.setattr("greenedge.data.loader.usable_cpus", lambda threads=threads: threads)
        batches = list(iterate_batches(split, batch_size, order))
        sizes = [min(batch_size, 12 - start) for start in range(0, 12, batch_size)]
        assert [len(each.targets) for each in batches] == sizes
        np.testing.assert_array_equal(torch.cat([each.images for each in batches]).numpy(), expected[order])
        assert torch.cat([each.targets for each in batches]).tolist() == split.labels[order].tolist()


def test_prepare_originals_names_all_bad_files_or_leaves_them_out(photos: Path) -> None:
    content = (photos / "raw/train/cat/0-rgb.jpg").read_bytes()
    (photos / "raw/train/cat/1-cut.jpg").write_bytes(content[: len(content) // 2])
    (photos / "raw/train/dog/2-empty.png").write_bytes(b"")
    with pytest.raises(DataError, match="2 of 20 images cannot be used"):
        kept(photos)
    assert not (photos / "kept").exists()

    split = open_prepared(kept(photos, skip_bad=True)).split("train")
    paths = image_paths(split)
    assert paths is not None
    assert len(split) == 12
    assert split.originals is not None
    for row, path in enumerate(paths):
        assert split.originals.file(row) == (photos / "raw" / path).read_bytes()
    assert check_images(photos / "kept") == {"train": 12, "val": 6}


def test_prepare_originals_refuses_pickles(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a pickle holds arrays"):
        prepare([tmp_path / "train.pkl"], tmp_path / "out", PrepareOptions(store=ORIGINALS))


def test_check_images_finds_a_changed_byte_of_an_original(photos: Path) -> None:
    folder = kept(photos)
    path, offsets = folder / "train-originals.bin", np.load(folder / "train-offsets.npy")
    content = bytearray(path.read_bytes())
    content[offsets[5] + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="image 5 of its train images is damaged"):
        check_images(folder)
    split = open_prepared(folder).split("train")
    with pytest.raises(DataError, match="image 5 of its train images is damaged"):
        list(iterate_batches(split, 4))


def test_open_prepared_refuses_originals_cut_short_or_moved(photos: Path) -> None:
    folder = kept(photos)
    path = folder / "val-originals.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=rf"holds {len(content) - 1} bytes, not {len(content)}: it is damaged"):
        open_prepared(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"val-originals\.bin: cannot be read: No such file"):
        open_prepared(folder)
    path.write_bytes(content)

    offsets = np.load(folder / "val-offsets.npy")
    offsets[1] += 1
    np.save(folder / "val-offsets.npy", offsets)
    with pytest.raises(DataError, match="its val labels, digests or offsets were changed"):
        open_prepared(folder)


def test_open_prepared_refuses_an_unknown_store(photos: Path) -> None:
    folder = kept(photos)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"originals"', '"tapes"'))
    with pytest.raises(DataError, match=r"manifest\.json: .*prepare again"):
        open_prepared(folder)


def test_originals_digests_are_of_the_files(photos: Path) -> None:
    split = open_prepared(kept(photos)).split("val")
    assert split.originals is not None
    assert split.digests is not None
    for row in range(len(split)):
        wanted = hashlib.sha256(split.originals.file(row)).digest()[:16]
        assert split.digests.sources[row].tobytes() == split.digests.pixels[row].tobytes() == wanted


def test_predicting_a_file_decodes_it_as_evaluation_does(photos: Path) -> None:
    split = open_prepared(kept(photos)).sized(40).split("val")
    for row, path in enumerate(image_paths(split) or ()):
        expected = decode_image((photos / "raw" / path).read_bytes(), path, 40)
        np.testing.assert_array_equal(split.read(np.array([row]))[0], expected)


def test_validation_images_are_set_aside_as_from_arrays(tmp_path: Path) -> None:
    """The choice goes by the files' bytes, bad ones included, and every file comes out as it went in."""
    for split, name in itertools.product(("train", "val"), ("cat", "dog")):
        for path in sorted(write_photos(tmp_path / "photos").glob(f"{split}/{name}/*")):
            target = tmp_path / "raw" / name / f"{split}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "raw" / "cat" / "bad.jpg").write_bytes(b"no image")
    found = {}
    for store in (ARRAYS, ORIGINALS):
        options = PrepareOptions(size=32, skip_bad=True, val_fraction=0.3, split_seed=5, store=store)
        prepare([tmp_path / "raw"], tmp_path / store, options)
        found[store] = open_prepared(tmp_path / store)
        check_images(tmp_path / store)
    for name in ("train", "val"):
        arrays, originals = (found[store].split(name) for store in (ARRAYS, ORIGINALS))
        paths = image_paths(originals)
        assert paths == image_paths(arrays)
        assert originals.labels.tolist() == arrays.labels.tolist()
        np.testing.assert_array_equal(originals.read(originals.rows), arrays.read(arrays.rows))
        assert originals.originals is not None
        # Paths begin with the split that the images came from.
        files = [(tmp_path / "raw" / path.partition("/")[2]).read_bytes() for path in paths or []]
        assert [originals.originals.file(row) for row in range(len(originals))] == files
        assert (tmp_path / ORIGINALS / f"{name}-originals.bin").stat().st_size == sum(map(len, files))
    sides = json.loads((tmp_path / ORIGINALS / "manifest.json").read_text())["shorter_sides"]
    assert (sides["smallest"], sides["largest"]) == (40, 260)
