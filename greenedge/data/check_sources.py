"""Decodes all images of sources to see whether they can be used, and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.data.decoding import decode_images
from greenedge.data.layouts import Listing
from greenedge.data.prepare import PrepareOptions, check_size, quiet_codecs, val_fraction
from greenedge.data.problems import ProblemsError
from greenedge.data.sources import Source, open_source
from greenedge.data.val_split import set_val_aside
from greenedge.errors import printable


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used.

    Attributes:
        file: what messages call it: its path, `ARCHIVE:PATH`, or the line of a table.
        problem: what is wrong, and the way out.
        split: that it is in; None where that was not read.
        class_id: the identifier of its class; None where that was not read.
    """

    file: str
    problem: str
    split: str | None = None
    class_id: str | None = None


@dataclass(frozen=True)
class SourceCheck:
    """What a check of sources found.

    Attributes:
        listing: the images; None where the sources could not be listed.
        bad: the files that cannot be used, in the order of the listing.
        summary: a sentence on these; None where there are none.
    """

    listing: Listing | None
    bad: tuple[BadFile, ...]
    summary: str | None


def check_sources(sources: Sequence[Path], options: PrepareOptions | None = None) -> SourceCheck:
    """Reads and decodes every image that `prepare` would, and finds all that cannot be used.

    Only digests and problems are kept in memory.

    Raises:
        DataError: the sources cannot be used for a reason that is not of single files.
        UsageError: the size, or the share to set aside, is out of range.
    """
    options = options or PrepareOptions()
    check_size(options)
    try:
        with open_source(sources, options.labels_map) as source, quiet_codecs():
            return _check(source, options)
    except ProblemsError as error:  # of the listing
        bad = tuple(BadFile(*_file_and_problem(text)) for text in error.problems)
        return SourceCheck(None, bad, error.short if len(bad) > 1 else "one file cannot be used; fix or remove it")


def _check(source: Source, options: PrepareOptions) -> SourceCheck:
    fraction = val_fraction(source.listing, options)
    listing = source.listing.subset(options.classes, options.per_class)
    if fraction is not None:
        listing = source.listing.subset(options.classes, None)

    bad: list[BadFile] = []
    for split, records in listing.splits.items():
        decoded = decode_images(source, records, options.size, f"checking {split}", lambda _first, _content: None)
        for row, problem in decoded.problems.items():
            record = records[row]
            file = printable(source.locate(record))
            reason = problem.removeprefix(f"{file}: ")
            bad.append(BadFile(file, reason, split, listing.classes[record.label].id))
        if fraction is not None and split == "train" and not bad:
            # Whether enough images are left is seen only by setting some aside.
            digests = [digest.tobytes() for digest in decoded.sources]
            set_val_aside(listing, digests, fraction, options.split_seed).subset(None, options.per_class)

    total = sum(map(len, listing.splits.values()))
    way_out = "fix or remove them, or prepare the others with --skip-bad"
    return SourceCheck(listing, tuple(bad), f"{len(bad)} of {total} images cannot be used; {way_out}" if bad else None)


def _file_and_problem(text: str) -> tuple[str, str]:
    file, _, problem = printable(text).partition(": ")
    return file, problem
