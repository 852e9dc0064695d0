"""Writes the files of a data set's splits: images, labels, digests and paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.config.records import digest_of
from greenedge.data.decoding import Decoded, copy_rows, keep_rows, write_images
from greenedge.data.layouts import Listing, Record
from greenedge.data.prepared import SplitInfo, array_path, content_digest, paths_content, paths_file
from greenedge.data.sources import Source
from greenedge.data.val_split import set_val_aside


@dataclass(frozen=True)
class WrittenSplits:
    """What was written of a listing.

    Attributes:
        listing: its images by split.
        splits: what the manifest says of each.
        problems: why an image of the listing was left out.
    """

    listing: Listing
    splits: dict[str, SplitInfo]
    problems: dict[Record, str]


def write_splits(source: Source, listing: Listing, folder: Path, size: int) -> WrittenSplits:
    """Writes the splits of a listing, and nothing for one without images.

    Raises:
        OSError: a file cannot be written.
    """
    splits, problems = {}, {}
    for split, records in listing.splits.items():
        splits[split] = SplitInfo(0)
        if records:
            images = array_path(folder, split, "images")
            decoded = write_images(source, images, split, records, size)
            rows = _usable(np.arange(len(records)), decoded)
            if len(rows) < len(records):
                keep_rows(images, rows, (len(records), 3, size, size))
            splits[split] = _describe(folder, split, records, decoded, rows)
            problems.update({records[row]: problem for row, problem in decoded.problems.items()})
    return WrittenSplits(listing, splits, problems)


def write_with_val_aside(
    source: Source, listing: Listing, folder: Path, size: int, aside: tuple[float, int, int | None]
) -> WrittenSplits:
    """Writes training images, some of which are set aside for validation; each is read once.

    Which ones are is known when all are read, so all are written into one file first, and those for validation
    are moved out of it.

    Args:
        source: of the images.
        listing: of training images alone.
        folder: the data set's.
        size: pixels per side.
        aside: which share of each class, the choice's seed, and how many training images of each class are kept
            besides; None: all.

    Raises:
        DataError: no image can be set aside, or a class is left with too few.
        OSError: a file cannot be written.
    """
    fraction, seed, per_class = aside
    records = listing.splits["train"]
    images = array_path(folder, "train", "images")
    decoded = write_images(source, images, "images", records, size)
    listing = set_val_aside(listing, [digest.tobytes() for digest in decoded.sources], fraction, seed)
    listing = listing.subset(None, per_class)

    row_of = {record.path: row for row, record in enumerate(records)}
    rows = {
        split: np.array([row_of[record.path] for record in listing.splits[split]], dtype=np.int64)
        for split in ("val", "train")
    }
    usable = {split: _usable(rows[split], decoded) for split in rows}
    shape = (len(records), 3, size, size)
    copy_rows(images, array_path(folder, "val", "images"), usable["val"], shape)
    keep_rows(images, usable["train"], shape)
    splits = {split: _describe(folder, split, records, decoded, usable[split]) for split in listing.splits}
    problems = {
        records[row]: decoded.problems[row]
        for split in listing.splits
        for row in rows[split].tolist()
        if row in decoded.problems
    }
    return WrittenSplits(listing, splits, problems)


def _usable(rows: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Returns the rows of images that can be used."""
    return rows[~np.isin(rows, list(decoded.problems))] if decoded.problems else rows


def _describe(folder: Path, split: str, records: Sequence[Record], decoded: Decoded, rows: np.ndarray) -> SplitInfo:
    """Writes labels, digests and paths of a split, whose images are written; removes these where there are none.

    Args:
        folder: the data set's.
        split: its name.
        records: all that were decoded.
        decoded: what decoding found of them.
        rows: int64 (n,): those of the split.
    """
    if not len(rows):
        array_path(folder, split, "images").unlink()
        return SplitInfo(0)
    kept = [records[row] for row in rows.tolist()]
    digests = decoded.digests(rows)
    labels = np.array([record.label for record in kept], dtype=np.int64)
    np.save(array_path(folder, split, "labels"), labels)
    np.save(array_path(folder, split, "digests"), np.stack([digests.pixels, digests.sources]))
    paths = paths_content([record.path for record in kept])
    paths_file(folder, split).write_bytes(paths)
    return SplitInfo(len(kept), content_digest(labels, digests), digest_of(paths))
