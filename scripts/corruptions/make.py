"""Makes corrupted copies of a prepared data set's validation images, OUT/CORRUPTION/SEVERITY/CLASS/FILE.JPEG."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from corruptions import CORRUPTIONS, corrupt
from PIL import Image
from tqdm import tqdm

from greenedge.data.folders import new_folder
from greenedge.data.prepared import PreparedSplit, image_paths, open_prepared
from greenedge.errors import GreenedgeError, UsageError

SEVERITIES = (1, 2, 3, 4, 5)


def make(data: Path, out: Path, names: list[str], per_class: int | None, seed: int) -> int:
    """Writes the images and returns how many; the folder is whole or absent."""
    if out.exists():
        raise UsageError(f"{out}: exists already; choose another --out, or remove it first")
    split = open_prepared(data).split("val")
    rows = chosen_rows(split, per_class)
    paths = image_paths(split)
    if paths is None:
        raise UsageError(f"{data}: keeps no names of its images; prepare it again")
    jobs = [(name, severity, row) for name in names for severity in SEVERITIES for row in rows]
    with new_folder(out) as partial:
        for name, severity, row in tqdm(jobs, unit=" images", disable=None):
            # Of each image by itself, so that a subset has the same noise.
            random = np.random.default_rng([seed, list(CORRUPTIONS).index(name), severity, row])
            image = corrupt(split.read(np.array([row]))[0].transpose(1, 2, 0), name, severity, random)
            folder = partial / name / str(severity) / split.classes[split.labels[row]].id
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{Path(paths[row]).stem}.JPEG"
            Image.fromarray(image).save(file, "JPEG", quality=85, optimize=True)  # as the published ones
    return len(jobs)


def chosen_rows(split: PreparedSplit, per_class: int | None) -> list[int]:
    """The first images of each class, in the order of the data set; None: all."""
    if per_class is None:
        return split.rows.tolist()
    found: list[int] = []
    for label in range(len(split.classes)):
        found += split.rows[split.labels[split.rows] == label][:per_class].tolist()
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--corruption", action="append", choices=list(CORRUPTIONS), help="only this one; repeatable")
    parser.add_argument("--per-class", type=int, help="images of each class; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    options = parser.parse_args()
    if options.per_class is not None and options.per_class < 1:
        parser.error("--per-class must be at least 1")
    try:
        names = options.corruption or list(CORRUPTIONS)
        count = make(options.data, options.out, names, options.per_class, options.seed)
    except GreenedgeError as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: {count} images of {len(names)} corruptions at {len(SEVERITIES)} severities")


if __name__ == "__main__":
    main()
