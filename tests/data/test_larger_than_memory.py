"""A prepared data set of 30 GB, all of it a hole in a sparse file: it must open, and train a step."""

from __future__ import annotations

import hashlib
import json
import resource
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.prepared import ImageDigests, content_digest, open_prepared
from greenedge.data.splits import carve_calibration, split_digest, take_fraction
from greenedge.files import write_json
from greenedge.workflows.train import train

SIZE, CLASSES = 224, 2
IMAGES = 30 * 10**9 // (3 * SIZE * SIZE)

CONFIG = """\
data: {{path: {path}, image_size: 32, calibration_per_class: 4, train_fraction: 0.0001}}
model: {{backbone: resnet18, exits: [{{after: layer1, head: linear}}]}}
train: {{epochs: 1, batch_size: 20, device: cpu, precision: float32}}
"""


def write_sparse(folder: Path, name: str, count: int) -> dict[str, object]:
    shape = (count, 3, SIZE, SIZE)
    with (folder / f"{name}-images.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)))
    labels = np.arange(count) % CLASSES
    black = np.frombuffer(hashlib.sha256(bytes(3 * SIZE * SIZE)).digest()[:16], np.uint8)
    pixels = np.tile(black, (count, 1))
    sources = np.zeros((count, 16), np.uint8)
    sources.view(np.int64)[:, 0] = np.arange(count)
    paths = json.dumps([f"{row}.jpg" for row in range(count)]).encode()
    np.save(folder / f"{name}-labels.npy", labels)
    np.save(folder / f"{name}-digests.npy", np.stack([pixels, sources]))
    (folder / f"{name}-paths.json").write_bytes(paths)
    digest = content_digest(labels, ImageDigests(pixels, sources))
    return {"images": count, "digest": digest, "paths_digest": hashlib.sha256(paths).hexdigest()}


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparse")
    splits = {"train": write_sparse(folder, "train", IMAGES), "val": write_sparse(folder, "val", 8)}
    images = folder / "train-images.npy"
    if images.stat().st_blocks * 512 > 10**6:
        images.unlink()
        pytest.skip("this file system has no sparse files")
    manifest = {
        "format": 2,
        "image_size": SIZE,
        "classes": [{"id": f"c{index}", "name": f"c{index}"} for index in range(CLASSES)],
        "splits": splits,
    }
    write_json(folder / "manifest.json", manifest, sealed=True)
    return folder


def test_open_prepared_reads_no_pixels_of_30_gb(sparse: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images = open_prepared(sparse).split("train")
    rest, calibration = carve_calibration(images, 50)
    few = take_fraction(rest, 0.001)
    assert images.images.nbytes > 29.9e9
    assert len(split_digest(few)) == 64
    assert not calibration.read(calibration.rows[:20]).any()
    grown_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kilobytes < 200_000


def test_train_makes_a_step_on_30_gb(sparse: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(path=sparse))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = train(config, out=tmp_path / "run")
    assert len(outcome.history) == 1
    grown_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kilobytes < 1_500_000
