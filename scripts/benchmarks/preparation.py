"""Measures `data prepare` per image, and says what a set of ImageNet-1k's size takes.

Two kinds of JPEGs are prepared: TinyImageNet's own of 64 px, and mosaics of 4 x 3 of these, doubled to 512 x 384 px,
about the size and bytes of ImageNet's. Each set is prepared with few and with many images, in a process of its own; the
difference is what an image takes. Memory per image is measured on tiny images, as only names and digests are kept.
"""

from __future__ import annotations

import io
import itertools
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import harness
from images import REAL
from PIL import Image

from greenedge.reporting.tables import format_table

IMAGENET = 1_281_167 + 50_000
FEW, MANY = 200, 1_400  # images of each set
FEW_NAMES, MANY_NAMES = 5_000, 65_000
MOSAICS = 200  # different ones
SIZES = (64, 224)
DOT = b"P6 4 4 255\n" + bytes(48)  # an image of 4 x 4 px

# Prints processor seconds and the peak of memory in KiB. The peak that a parent process is told counts its own, too.
PROGRAM = """
import re, sys, time
from pathlib import Path
from greenedge.data.prepare import PrepareOptions, prepare
prepare([Path(sys.argv[1])], Path(sys.argv[2]), PrepareOptions(size=int(sys.argv[3])))
print(time.process_time(), re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@dataclass(frozen=True)
class Cost:
    """What preparing takes: processor and wall seconds, the peak of memory, and the bytes that are made."""

    cpu_seconds: float
    seconds: float
    peak_bytes: float
    made_bytes: float


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--images", type=Path, default=REAL, help="a zip of TinyImageNet's training images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        found = {}
        for name, contents in (("64 px", small_images), ("512 x 384 px", mosaics)):
            few, many = (write_zip(work / f"{n}.zip", contents(options.images), n) for n in (FEW, MANY))
            source_bytes = (many.stat().st_size - few.stat().st_size) / (MANY - FEW)
            for size in SIZES:
                cost = per_image(few, many, size, MANY - FEW, options.rounds)
                found[f"{name} to {size} px"] = {"source_bytes": source_bytes, **vars(cost)}
        memory = {}
        for name, write in (("zip", write_dots), ("shards", write_shards)):
            few, many = (write(work / f"{name}-{n}", n) for n in (FEW_NAMES, MANY_NAMES))
            memory[name] = per_image(few, many, 4, MANY_NAMES - FEW_NAMES, 1)
    kept = {name: cost.peak_bytes for name, cost in memory.items()}
    if options.json:
        print(json.dumps({"per_image": found, "memory_bytes_per_image": kept, "images": IMAGENET}, indent=2))
        return
    show(found, kept)


def show(found: dict[str, dict[str, float]], kept: dict[str, float]) -> None:
    """Prints what an image takes, and what ImageNet-1k's number of them would."""
    headers = ["images", "source (kB)", "CPU (ms)", "made (bytes)", "CPU (hours)", "made (GB)"]
    rows = [
        [
            name,
            f"{cost['source_bytes'] / 1e3:.1f}",
            f"{1e3 * cost['cpu_seconds']:.2f}",
            f"{cost['made_bytes']:.0f}",
            f"{cost['cpu_seconds'] * IMAGENET / 3600:.2f}",
            f"{cost['made_bytes'] * IMAGENET / 1e9:.1f}",
        ]
        for name, cost in found.items()
    ]
    print(format_table(headers, rows))
    print(f"\nCPU (hours) and made (GB) are of {IMAGENET} images")
    for name, each in kept.items():
        print(
            f"memory for names and digests, {name}: {each:.0f} bytes per image, {each * IMAGENET / 1e9:.2f} GB for all"
        )


def per_image(few: Path, many: Path, size: int, images: int, rounds: int) -> Cost:
    """Returns the medians of the rounds' differences between both sets, for each of the `images` more."""
    runs = [(run(few, size), run(many, size)) for _ in range(rounds)]
    return Cost(
        *(
            statistics.median(getattr(large, part) - getattr(small, part) for small, large in runs) / images
            for part in Cost.__dataclass_fields__
        )
    )


def run(source: Path, size: int) -> Cost:
    """Prepares a source in a process of its own."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-c", PROGRAM, str(source), str(out), str(size)]
        started = time.monotonic()
        printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()
        seconds = time.monotonic() - started
        made = sum(file.stat().st_size for file in out.iterdir())
        return Cost(float(printed[0]), seconds, 1024 * float(printed[1]), made)


def small_images(archive: Path) -> Iterator[bytes]:
    """The JPEGs of the archive, without end."""
    with zipfile.ZipFile(archive) as source:
        names = [name for name in source.namelist() if name.endswith(".JPEG")][:MANY]
        yield from itertools.cycle([source.read(name) for name in names])


def mosaics(archive: Path) -> Iterator[bytes]:
    """JPEGs of 512 x 384 px made of the archive's, without end."""
    tiles, made = small_images(archive), []
    for _ in range(MOSAICS):
        mosaic = Image.new("RGB", (256, 192))
        for number, content in enumerate(itertools.islice(tiles, 12)):
            mosaic.paste(Image.open(io.BytesIO(content)).convert("RGB"), (64 * (number % 4), 64 * (number // 4)))
        file = io.BytesIO()
        mosaic.resize((512, 384), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
        made.append(file.getvalue())
    yield from itertools.cycle(made)


def write_zip(path: Path, contents: Iterator[bytes], count: int) -> Path:
    """Writes images in class folders, with names like ImageNet's."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, content in enumerate(itertools.islice(contents, count)):
            archive.writestr(f"train/n{number % 10:08}/n{number % 10:08}_{number}.JPEG", content)
    return path


def write_dots(path: Path, count: int) -> Path:
    """Writes images of 4 x 4 px in class folders."""
    return write_zip(path.with_suffix(".zip"), itertools.repeat(DOT), count)


def write_shards(folder: Path, count: int) -> Path:
    """Writes images of 4 x 4 px in WebDataset shards of 1,250."""
    folder.mkdir()
    for first in range(0, count, 1250):
        with tarfile.open(folder / f"train-{first // 1250:04}.tar", "w") as archive:
            for number in range(first, min(first + 1250, count)):
                for ending, content in (("ppm", DOT), ("cls", str(number % 10).encode())):
                    info = tarfile.TarInfo(f"n{number % 10:08}_{number}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return folder


if __name__ == "__main__":
    main()
