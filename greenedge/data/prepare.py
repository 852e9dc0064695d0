"""Decodes a source once, in parallel, into a prepared data set."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from greenedge import __version__
from greenedge.data.folders import new_folder
from greenedge.data.layouts import Listing, Record
from greenedge.data.manifest import FORMAT, MANIFEST, SplitInfo
from greenedge.data.originals import ARRAYS, ORIGINALS, Store
from greenedge.data.problems import ProblemsError
from greenedge.data.sources import Source, open_source
from greenedge.data.split_files import write_splits, write_with_val_aside
from greenedge.data.store_files import StoreFiles, store_files
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
    check_size(options)
    if options.store == ORIGINALS and any(path.suffix == ".pkl" for path in sources):
        raise UsageError("--store originals keeps image files, and a pickle holds arrays; prepare it without --store")
    if out.exists():
        raise DataError(f"{out}: exists already; choose another --out, or remove it first")
    with open_source(sources, options.labels_map) as source:
        fraction = val_fraction(source.listing, options)
        listing = source.listing.subset(options.classes, options.per_class)
        with new_folder(out) as partial, quiet_codecs():
            store: StoreFiles[Any] = store_files(options.store, options.size)
            if fraction is None:
                written = write_splits(source, listing, partial, store)
            else:
                listing = source.listing.subset(options.classes, None)
                aside = fraction, options.split_seed, options.per_class
                written = write_with_val_aside(source, listing, partial, store, aside)

            problems = written.problems
            _refuse(problems, written.listing, options)
            manifest = _manifest(source, written.listing, written.splits, options)
            if options.store == ORIGINALS:
                manifest |= {"shorter_sides": _range(written.shorter_sides)}
            if fraction is not None:
                manifest |= {"val_split": {"fraction": fraction, "seed": options.split_seed}}
            manifest |= {"skipped": len(problems), "skipped_images": [*map(printable, problems.values())][:_MAX_NAMED]}
            write_json(partial / MANIFEST, manifest, sealed=True)
    return manifest


def check_size(options: PrepareOptions) -> None:
    """Refuses a size out of range.

    Raises:
        UsageError: it is.
    """
    if not 1 <= options.size <= MAX_SIZE:
        raise UsageError(f"images are stored at 1 to {MAX_SIZE} pixels per side, not {options.size}")


@contextmanager
def quiet_codecs() -> Iterator[None]:
    """Silences what codecs say of oddities in files, and turns one of a too large image into an error.

    Filters apply to all threads, so they are set around these.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def val_fraction(listing: Listing, options: PrepareOptions) -> float | None:
    """Returns which share of each class's training images is set aside for validation; None for none.

    Raises:
        UsageError: one is asked for that is out of range, or beside validation images of the sources.
    """
    fraction = options.val_fraction
    if listing.splits["val"]:
        if fraction is not None:
            raise UsageError("--val-fraction: the sources have validation images of their own; leave it out")
        return None
    if fraction is None:
        return DEFAULT_VAL_FRACTION if listing.unsplit else None
    if not 0 < fraction < 1:
        raise UsageError(f"--val-fraction: expected a number between 0 and 1, found {fraction:g}")
    return fraction


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


def _range(sides: np.ndarray) -> dict[str, int]:
    return {"smallest": int(sides.min()), "median": int(np.median(sides)), "largest": int(sides.max())}


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
        "notes": [*map(printable, listing.notes)],
        "sources": source.digests(),
        "versions": {"greenedge": __version__, "numpy": np.__version__, "pillow": PIL.__version__},
    }
