"""Times reading for training from each store, at 64 and 224 px, and measures the memory that each takes.

The same photos, generated JPEGs of 500 x 375 pixels, are prepared as arrays of each size and kept as originals. An
epoch in random order is read in batches of 128, without a network: from arrays as they lie, from originals in random
crops and at the centre, with as many threads as there are processors and with one. Memory and processor time are of a
process of its own each (Linux): the growth of its peak over that after its imports, of which pages of files that the
system may drop are part; and the time of all its threads, which depends least on what else the machine does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import harness
import numpy as np
import torch
from PIL import Image

from greenedge.data.crops import RandomCrops
from greenedge.data.loader import iterate_batches
from greenedge.data.originals import ORIGINALS
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from greenedge.device.machine import usable_cpus
from greenedge.reporting.tables import format_table

BATCH, SIZES, CLASSES, WIDTH, HEIGHT = 128, (64, 224), 4, 500, 375
CROPS = RandomCrops(0.08, 4 / 3)
WAYS = ("arrays", "originals, random crops", "originals, centre", "originals, random crops, one thread")


def write_photos(root: Path, images: int) -> None:
    """Writes JPEGs whose detail, and so whose bytes, are about those of photos."""
    random = np.random.default_rng(0)
    for index in range(images):
        coarse = Image.fromarray(random.integers(0, 256, (HEIGHT // 25, WIDTH // 25, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        noisy = (pixels + random.normal(0, 12, pixels.shape)).clip(0, 255).astype(np.uint8)
        for split in ("train", "val") if index < CLASSES else ("train",):
            path = root / split / str(index % CLASSES) / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy).save(path, quality=90)


def read_epoch(folder: Path, size: int, way: str) -> None:
    split = open_prepared(folder).sized(size).split("train")
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    crops = CROPS if "random" in way else None
    threads = 1 if "one thread" in way else usable_cpus()
    with mock.patch("greenedge.data.loader.usable_cpus", return_value=threads):
        for batch in iterate_batches(split, BATCH, order, check=False, crops=crops):
            assert batch.images.shape[-1] == size


def measure_alone(folder: Path, size: int, way: str) -> tuple[float, float]:
    """Megabytes and processor seconds of a new process that reads an epoch."""
    command = [sys.executable, __file__, "--read", str(folder), str(size), way]
    megabytes, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(megabytes), float(seconds)


def print_measured(folder: Path, size: int, way: str) -> None:
    # Forgets the peak so far: a new process begins with its parent's.
    Path("/proc/self/clear_refs").write_text("5")
    before, started = _peak_kilobytes(), time.process_time()
    read_epoch(folder, size, way)
    seconds = time.process_time() - started
    print((_peak_kilobytes() - before) / 1000, seconds)


def _peak_kilobytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    options = harness.parser(__doc__, rounds=5)
    options.add_argument("--images", type=int, default=768)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as work:
        raw, originals = Path(work) / "raw", Path(work) / "originals"
        write_photos(raw, given.images)
        prepare([raw], originals, PrepareOptions(store=ORIGINALS))
        results = []
        for size in SIZES:
            arrays = Path(work) / f"arrays-{size}"
            prepare([raw], arrays, PrepareOptions(size=size))
            folders = {way: arrays if way == "arrays" else originals for way in WAYS}
            contenders: dict[str, Callable[[], object]] = {
                way: partial(read_epoch, folder, size, way) for way, folder in folders.items()
            }
            medians = harness.time_interleaved(contenders, given.rounds)
            for way, folder in folders.items():
                stored = next(path for path in folder.glob("train-*") if path.suffix == ".bin" or "images" in path.name)
                megabytes, seconds = measure_alone(folder, size, way)
                results.append(
                    {
                        "store": way,
                        "px": size,
                        "images_per_second": given.images / medians[way],
                        "time_over_arrays": medians[way] / medians["arrays"],
                        "processor_ms_per_image": 1000 * seconds / given.images,
                        "megabytes": megabytes,
                        "kilobytes_stored_per_image": stored.stat().st_size / given.images / 1000,
                    }
                )
    if given.json:
        print(json.dumps({"threads": usable_cpus(), "images": given.images, "stores": results}, indent=2))
        return
    headers = [
        "store",
        "px",
        "images/s",
        "time over arrays",
        "processor ms/image",
        "peak memory (MB)",
        "kB stored per image",
    ]
    rows = [
        [
            each["store"],
            str(each["px"]),
            f"{each['images_per_second']:.0f}",
            f"{each['time_over_arrays']:.1f}",
            f"{each['processor_ms_per_image']:.2f}",
            f"{each['megabytes']:.0f}",
            f"{each['kilobytes_stored_per_image']:.1f}",
        ]
        for each in results
    ]
    print(format_table(headers, rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        print_measured(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main()
