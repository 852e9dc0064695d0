"""Writes the files of a data set's splits: images, labels, digests and paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.config.records import digest_of
from greenedge.data.layouts import Listing, Record
from greenedge.data.manifest import SplitInfo
from greenedge.data.prepared import array_path, content_digest, paths_content, paths_file
from greenedge.data.sources import Source
from greenedge.data.store_files import StoreFiles, W, Written
from greenedge.data.val_split import set_val_aside

_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class WrittenSplits:
    """What was written of a listing.

    Attributes:
        listing: its images by split.
        splits: what the manifest says of each.
        problems: why an image of the listing was left out.
        shorter_sides: int64 (N,), pixels of the shorter side of each original; none of arrays.
    """

    listing: Listing
    splits: dict[str, SplitInfo]
    problems: dict[Record, str]
    shorter_sides: np.ndarray


def write_splits(source: Source, listing: Listing, folder: Path, store: StoreFiles[W]) -> WrittenSplits:
    """Writes the splits of a listing, and nothing for one without images.

    Raises:
        OSError: a file cannot be written.
    """
    splits, problems, sides = {}, {}, [_NOTHING]
    for split, records in listing.splits.items():
        splits[split] = SplitInfo(0)
        if records:
            images = store.path(folder, split)
            written = store.write(source, images, split, records)
            rows = _usable(np.arange(len(records)), written)
            if len(rows) < len(records):
                store.keep(written, images, rows)
            splits[split] = _describe(folder, split, records, (store, written), rows)
            sides.append(store.shorter_sides(written, rows))
            problems.update({records[row]: problem for row, problem in written.problems.items()})
    return WrittenSplits(listing, splits, problems, np.concatenate(sides))


def write_with_val_aside(
    source: Source, listing: Listing, folder: Path, store: StoreFiles[W], aside: tuple[float, int, int | None]
) -> WrittenSplits:
    """Writes training images, some of which are set aside for validation; each is read once.

    Which ones are is known when all are read, so all are written into one file first, and those for validation
    are moved out of it.

    Args:
        source: of the images.
        listing: of training images alone.
        folder: the data set's.
        store: how images are written.
        aside: which share of each class, the choice's seed, and how many training images of each class are kept
            besides; None: all.

    Raises:
        DataError: no image can be set aside, or a class is left with too few.
        OSError: a file cannot be written.
    """
    fraction, seed, per_class = aside
    records = listing.splits["train"]
    images = store.path(folder, "train")
    written = store.write(source, images, "images", records)
    listing = set_val_aside(listing, [digest.tobytes() for digest in written.sources], fraction, seed)
    listing = listing.subset(None, per_class)

    row_of = {record.path: row for row, record in enumerate(records)}
    rows = {
        split: np.array([row_of[record.path] for record in listing.splits[split]], dtype=np.int64)
        for split in ("val", "train")
    }
    usable = {split: _usable(rows[split], written) for split in rows}
    store.copy(written, images, store.path(folder, "val"), usable["val"])
    store.keep(written, images, usable["train"])
    splits = {split: _describe(folder, split, records, (store, written), usable[split]) for split in listing.splits}
    problems = {
        records[row]: written.problems[row]
        for split in listing.splits
        for row in rows[split].tolist()
        if row in written.problems
    }
    sides = store.shorter_sides(written, np.concatenate([*usable.values()]))
    return WrittenSplits(listing, splits, problems, sides)


def _usable(rows: np.ndarray, written: Written) -> np.ndarray:
    """Returns the rows of images that can be used."""
    return rows[~np.isin(rows, list(written.problems))] if written.problems else rows


def _describe(
    folder: Path, split: str, records: Sequence[Record], stored: tuple[StoreFiles[W], W], rows: np.ndarray
) -> SplitInfo:
    """Writes all but the images of a split; removes the file of these where there are none.

    Args:
        folder: the data set's.
        split: its name.
        records: all that were written.
        stored: how, and what was found of them.
        rows: int64 (n,): those of the split.
    """
    store, written = stored
    if not len(rows):
        store.path(folder, split).unlink()
        return SplitInfo(0)
    kept = [records[row] for row in rows.tolist()]
    digests, offsets = written.digests(rows), store.offsets(written, rows)
    labels = np.array([record.label for record in kept], dtype=np.int64)
    np.save(array_path(folder, split, "labels"), labels)
    np.save(array_path(folder, split, "digests"), np.stack([digests.pixels, digests.sources]))
    if offsets is not None:
        np.save(array_path(folder, split, "offsets"), offsets)
    paths = paths_content([record.path for record in kept])
    paths_file(folder, split).write_bytes(paths)
    return SplitInfo(len(kept), content_digest(labels, digests, offsets), digest_of(paths))
