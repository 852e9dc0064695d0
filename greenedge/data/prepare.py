"""Decodes a source once, in parallel, into a prepared data set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from greenedge import __version__
from greenedge.config.records import digest_of
from greenedge.data.decoding import keep_rows, write_images
from greenedge.data.folders import new_folder
from greenedge.data.layouts import Listing, Record
from greenedge.data.originals import ARRAYS, ORIGINALS, Store
from greenedge.data.prepared import (
    FORMAT,
    MANIFEST,
    ImageDigests,
    SplitInfo,
    array_path,
    content_digest,
    originals_file,
    paths_content,
    paths_file,
)
from greenedge.data.problems import ProblemsError
from greenedge.data.sources import Source, open_source
from greenedge.data.val_split import set_val_aside
from greenedge.data.write_originals import write_originals
from greenedge.errors import DataError, UsageError, printable
from greenedge.files import write_json

# Pixels per side; an image of this size takes 200 MB.
MAX_SIZE = 8192
DEFAULT_VAL_FRACTION = 0.1
# How many of the images that were left out the manifest names.
_MAX_NAMED = 100


@dataclass(frozen=True)
class PrepareOptions:
    """What to keep of a source.

    Attributes:
        size: pixels per side of the stored images; of originals the size that they are decoded to by default.
        classes: how many classes, the first in sorted order; None: all.
        per_class: how many training images per class, the first in sorted order; None: all.
        labels_map: for pickled data sets, a file from their labels to class indices; None: their labels, sorted.
        skip_bad: leave out images that cannot be used; otherwise one of them ends the preparation.
        val_fraction: which share of each class's training images to set aside where the sources have no validation
            images; None: a tenth for layouts without splits, none otherwise.
        split_seed: of the choice of these.
        store: how images are kept: decoded to one size, or as the files they are.
    """

    size: int = 64
    classes: int | None = None
    per_class: int | None = None
    labels_map: Path | None = None
    skip_bad: bool = False
    val_fraction: float | None = None
    split_seed: int = 0
    store: Store = ARRAYS


def prepare(sources: Sequence[Path], out: Path, options: PrepareOptions | None = None) -> dict[str, Any]:
    """Decodes the images of `sources` into the folder `out`, which is created only when all is done.

    Args:
        sources: folders or zip files, or pickles, which together hold one data set.
        out: the folder to create; it must not exist.
        options: size and subset.

    Returns:
        The manifest.

    Raises:
        DataError: a source or some of its images cannot be used (all are checked, and the first ten named), or `out`
            cannot be written; `out` is not created.
        UsageError: the size is out of range.
    """
    options = options or PrepareOptions()
    if not 1 <= options.size <= MAX_SIZE:
        raise UsageError(f"images are stored at 1 to {MAX_SIZE} pixels per side, not {options.size}")
    if options.store == ORIGINALS and any(path.suffix == ".pkl" for path in sources):
        raise UsageError("--store originals keeps image files, and a pickle holds arrays; prepare it without --store")
    if out.exists():
        raise DataError(f"{out}: exists already; choose another --out, or remove it first")
    with open_source(sources, options.labels_map) as source:
        listing, fraction = _with_val(source, options)
        listing = listing.subset(options.classes, options.per_class)
        with new_folder(out) as partial, warnings.catch_warnings():
            # Codecs warn of oddities in files. Filters apply to all threads, so they are set here.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)

            splits: dict[str, SplitInfo] = {}
            problems: dict[Record, str] = {}
            sides: list[int] = []
            for split, records in listing.splits.items():
                if options.store == ORIGINALS:
                    splits[split], left_out, found = _write_originals(source, partial, split, records, options)
                    sides += found
                else:
                    splits[split], left_out = _write_split(source, partial, split, records, options)
                problems.update(left_out)
            _refuse(problems, listing, options)
            manifest = _manifest(source, listing, splits, options)
            if options.store == ORIGINALS:
                median = int(np.median(sides))
                manifest |= {"shorter_sides": {"smallest": min(sides), "median": median, "largest": max(sides)}}
            if fraction is not None:
                manifest |= {"val_split": {"fraction": fraction, "seed": options.split_seed}}
            manifest |= {"skipped": len(problems), "skipped_images": [*map(printable, problems.values())][:_MAX_NAMED]}
            write_json(partial / MANIFEST, manifest, sealed=True)
    return manifest


def _with_val(source: Source, options: PrepareOptions) -> tuple[Listing, float | None]:
    """Sets validation images aside where the source has none and they are wanted.

    Returns:
        The listing, and the fraction of the images set aside; None for none.
    """
    listing, fraction = source.listing, options.val_fraction
    if listing.splits["val"]:
        if fraction is not None:
            raise UsageError("--val-fraction: the sources have validation images of their own; leave it out")
        return listing, None
    if fraction is None and listing.unsplit:
        fraction = DEFAULT_VAL_FRACTION
    if fraction is None:
        return listing, None
    return set_val_aside(listing, source.digest, fraction, options.split_seed), fraction


def _write_split(
    source: Source, folder: Path, split: str, records: Sequence[Record], options: PrepareOptions
) -> tuple[SplitInfo, dict[Record, str]]:
    """Writes images, labels, digests and paths of a split, and nothing for a split without images.

    Returns:
        What was written, and the problem of each image that was left out.
    """
    if not records:
        return SplitInfo(0), {}
    images_path = array_path(folder, split, "images")
    digests, problems = write_images(source, images_path, split, records, options.size)
    left_out = {records[row]: problem for row, problem in problems.items()}
    if len(left_out) == len(records):
        images_path.unlink()
        return SplitInfo(0), left_out
    if left_out:
        kept = np.array([row for row in range(len(records)) if row not in problems])
        keep_rows(images_path, kept, (len(records), 3, options.size, options.size))
        digests = ImageDigests(digests.pixels[kept], digests.sources[kept])
        records = [records[row] for row in kept.tolist()]

    return _write_index(folder, split, records, digests), left_out


def _write_originals(
    source: Source, folder: Path, split: str, records: Sequence[Record], options: PrepareOptions
) -> tuple[SplitInfo, dict[Record, str], list[int]]:
    """Writes files, offsets, labels, digests and paths of a split, and nothing for a split without images.

    Returns:
        What was written, the problem of each image that was left out, and the shorter sides of the others.
    """
    if not records:
        return SplitInfo(0), {}, []
    path = originals_file(folder, split)
    written = write_originals(source, path, split, records, options.size)
    left_out = {records[row]: problem for row, problem in written.problems.items()}
    kept = [record for row, record in enumerate(records) if row not in written.problems]
    if not kept:
        path.unlink()
        return SplitInfo(0), left_out, []
    np.save(array_path(folder, split, "offsets"), written.offsets)
    return _write_index(folder, split, kept, written.digests, written.offsets), left_out, written.sides.tolist()


def _write_index(
    folder: Path, split: str, records: Sequence[Record], digests: ImageDigests, offsets: np.ndarray | None = None
) -> SplitInfo:
    """Writes labels, digests and paths of the images that were written."""
    labels = np.array([record.label for record in records], dtype=np.int64)
    np.save(array_path(folder, split, "labels"), labels)
    np.save(array_path(folder, split, "digests"), np.stack([digests.pixels, digests.sources]))
    paths = paths_content([record.path for record in records])
    paths_file(folder, split).write_bytes(paths)
    return SplitInfo(len(records), content_digest(labels, digests, offsets), digest_of(paths))


def _refuse(problems: Mapping[Record, str], listing: Listing, options: PrepareOptions) -> None:
    """Raises an error where the images with problems cannot be left out."""
    if not problems:
        return
    total = sum(map(len, listing.splits.values()))
    if not options.skip_bad:
        raise ProblemsError(
            list(problems.values()),
            f"{len(problems)} of {total} images cannot be used",
            "fix or remove them, or leave them out with --skip-bad",
        )

    kept = {record.label for record in listing.splits["train"] if record not in problems}
    lost = {record.label for record in listing.splits["train"]} - kept
    for label, info in enumerate(listing.classes):
        if label in lost:
            bad = next(text for record, text in problems.items() if record.label == label)
            raise DataError(f"class {info.id!r} would lose all its training images, the first for this reason: {bad}")
    if len(problems) == total:
        raise DataError(
            f"none of the {total} images can be used, the first for this reason: {next(iter(problems.values()))}"
        )


def _manifest(
    source: Source, listing: Listing, splits: dict[str, SplitInfo], options: PrepareOptions
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "image_size": options.size,
        "store": options.store,
        "classes": [asdict(info) for info in listing.classes],
        "splits": {name: asdict(info) for name, info in splits.items()},
        "subset": {"classes": options.classes, "per_class": options.per_class},
        "unused": listing.unused,
        "read_as": listing.read_as,
        "sources": source.digests(),
        "versions": {"greenedge": __version__, "numpy": np.__version__, "pillow": PIL.__version__},
    }
