from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from greenedge.data import sources as reading
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from greenedge.errors import DataError
from tests.conftest import write_image
from tests.data.sources import assert_holds, is_one_sentence, read_official, refusal, zip_folder

Split = Callable[[Path, Path], list[Path]]


def as_folder(root: Path, folder: Path) -> list[Path]:
    return [root]


def as_one_zip(root: Path, folder: Path) -> list[Path]:
    return [zip_folder(root, folder / "all.zip", method=zipfile.ZIP_DEFLATED)]


def as_parts_and_val(root: Path, folder: Path) -> list[Path]:
    def part(n: int) -> Path:
        return zip_folder(
            root,
            folder / f"train-{n}.zip",
            keep=lambda p: p.startswith("train/") and hash_of(p) % 3 == n,
        )

    val = zip_folder(root, folder / "val.zip", keep=lambda p: not p.startswith("train/"))
    return [part(2), val, part(0), part(1)]


def hash_of(path: str) -> int:
    return hashlib.sha256(path.encode()).digest()[0]


@pytest.mark.parametrize("split", [as_folder, as_one_zip, as_parts_and_val])
def test_prepare_gives_the_arrays_that_pillow_reads_for_every_form_of_source(
    official: Path, tmp_path: Path, split: Split
) -> None:
    write_image(official / "train" / "n02" / "images" / "n02_3.JPEG", seed=5, mode="L")
    sources = split(official, tmp_path)
    prepare(sources, tmp_path / "out")
    assert_holds(tmp_path / "out", read_official(official))


def test_prepare_keeps_the_order_of_more_images_than_one_chunk(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (600, 3), dtype=np.uint8)
    for n, colour in enumerate(colours):
        path = tmp_path / "set" / "train" / f"c{n % 2}" / f"{n:03}.ppm"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.broadcast_to(colour, (4, 4, 3)).copy()).save(path)
    prepare([tmp_path / "set"], tmp_path / "out", PrepareOptions(size=4))
    expected = np.concatenate([colours[0::2], colours[1::2]])
    train = open_prepared(tmp_path / "out").split("train")
    np.testing.assert_array_equal(train.images, np.broadcast_to(expected[:, :, None, None], (600, 3, 4, 4)))


def test_prepare_writes_a_manifest_of_sources_and_options(official: Path, tmp_path: Path) -> None:
    train = zip_folder(official, tmp_path / "train.zip", keep=lambda p: p.startswith("train/"))
    val = zip_folder(official, tmp_path / "val.zip", keep=lambda p: not p.startswith("train/"))
    returned = prepare([train, val], tmp_path / "out", PrepareOptions(size=32, classes=2, per_class=7))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", manifest.pop("digest"))
    assert manifest == returned
    assert manifest["format"] == 2
    assert manifest["image_size"] == 32
    assert manifest["classes"] == [
        {"id": "n01", "name": "goldfish, Carassius auratus"},
        {"id": "n02", "name": "bullfrog"},
    ]
    assert {name: split["images"] for name, split in manifest["splits"].items()} == {"train": 14, "val": 10}
    assert manifest["subset"] == {"classes": 2, "per_class": 7}
    assert manifest["sources"] == [
        {"name": path.name, "kind": "zip", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in (train, val)
    ]
    assert manifest["versions"]["numpy"] == np.__version__


def test_prepare_writes_plain_npy_files_that_others_can_read(official: Path, tmp_path: Path) -> None:
    prepare([official], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        *(
            f"{split}-{part}"
            for split in ("train", "val")
            for part in ("digests.npy", "images.npy", "labels.npy", "paths.json")
        ),
    ]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    images, labels = read_official(official)["train"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "train-images.npy"), images)
    assert np.load(tmp_path / "out" / "train-labels.npy").tolist() == labels


@pytest.mark.parametrize("what", ["folder", "file"])
def test_prepare_refuses_and_keeps_an_existing_output(official: Path, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    kept = out / "mine.txt" if what == "folder" else out
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("keep me")
    assert str(out) in refusal(tmp_path, official)
    assert kept.read_text() == "keep me"


def test_prepare_refuses_an_output_below_a_file(official: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/out: cannot be created"):
        prepare([official], tmp_path / "file" / "out")


def test_prepare_continues_short_writes(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, view, offset: pwrite(file, view[:50_000], offset))
    prepare([official], tmp_path / "out")
    assert_holds(tmp_path / "out", read_official(official))


def test_prepare_leaves_nothing_on_a_full_disk(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, calls = os.pwrite, []

    def fill_up(file: int, view: memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(file, view, offset)

    monkeypatch.setattr(os, "pwrite", fill_up)
    message = refusal(tmp_path, official)
    assert len(calls) == 2
    assert str(tmp_path / "out") in message
    assert "No space left on device" in message


@pytest.mark.parametrize("limit_bytes", [100, 150, 3_000, 300_000])
def test_prepare_leaves_nothing_where_a_file_may_not_grow(official: Path, tmp_path: Path, limit_bytes: int) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from greenedge.data.prepare import prepare\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))\n"
        "try: prepare([Path(sys.argv[1])], Path(sys.argv[2]))\n"
        "except Exception as error: print(f'{type(error).__name__} {error.exit_code} {error}', end='')\n"
    )
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-c", program, str(official), str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"DataError 1 {tmp_path / 'out'}: ")
    assert "File too large" in result.stdout
    assert is_one_sentence(result.stdout)
    assert sorted(tmp_path.rglob("*")) == before


def test_prepare_leaves_nothing_that_opens_after_an_interrupt(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, unfinished = reading.decode_image, []

    def interrupt(content: bytes, name: str, size: int) -> np.ndarray:
        if name.endswith("val_7.JPEG"):
            unfinished.extend(tmp_path.glob(".out*"))
            for folder in unfinished:  # what a killed process would leave behind
                with pytest.raises(DataError):
                    open_prepared(folder)
            raise KeyboardInterrupt
        return decode(content, name, size)

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(reading, "decode_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare([official], tmp_path / "out")
    assert len(unfinished) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_prepare_does_not_hold_the_whole_data_set_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for n in range(3_000):
            archive.writestr(f"train/c{n % 2}/{n}.ppm", b"P6 8 8 255\n" + bytes([n % 256]) * 192)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # each thread holds some images
    tracemalloc.start()
    try:
        prepare([tmp_path / "set.zip"], tmp_path / "out")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out" / "train-images.npy").stat().st_size > 36_000_000
    assert peak_bytes < 15_000_000
