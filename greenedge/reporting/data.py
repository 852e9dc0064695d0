"""What `greenedge data` tells of data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from greenedge.data.check_sources import SourceCheck
from greenedge.data.manifest import Manifest
from greenedge.data.originals import ORIGINALS
from greenedge.reporting.blocks import Block, CommandResult, Lines, Table


def prepared_lines(out: Path, manifest: Manifest, size_bytes: int) -> list[str]:
    """What was left out of a prepared data set, and what it holds."""
    counts = {name: info.images for name, info in manifest.splits.items()}
    held = ", ".join(f"{count} {name} images" for name, count in counts.items())
    size = f"{manifest.image_size} px"
    if manifest.store == ORIGINALS:
        sides = manifest.shorter_sides
        size = (
            f"originals with shorter sides of {sides['smallest']} to {sides['largest']} px (median {sides['median']}), "
            f"decoded to {manifest.image_size} px where no config says otherwise"
        )
    lines = [f"{out}: {held} of {len(manifest.classes)} classes, {size}, {size_bytes / 1e6:.0f} MB"]
    for name, use in (("train", "train"), ("val", "evaluate")):
        if not counts.get(name):
            lines.append(f"note: the sources hold no {name} images, so nothing can be used to {use}")
    return [*_read_as(manifest), *_left_out(manifest), *lines]


def present_check(check: SourceCheck) -> CommandResult[SourceCheck]:
    """The files that cannot be used, or that there are none."""
    listing = check.listing
    blocks: list[Block] = []
    if listing is not None:
        notes = [f"note: {note}" for note in listing.notes] + _unused(listing.unused)
        blocks.append(Lines([f"read as {listing.read_as}", *notes]))
    if check.bad:
        blocks.append(Table(["file", "problem"], [[bad.file, bad.problem] for bad in check.bad]))
    elif listing is not None:
        counts = ", ".join(f"{len(records)} {name} images" for name, records in listing.splits.items() if records)
        blocks.append(f"{counts} of {len(listing.classes)} classes were decoded, and all can be used")
    blocks.append("nothing was written")
    json = {
        "read_as": listing.read_as if listing else None,
        "images": {name: len(records) for name, records in listing.splits.items()} if listing else None,
        "classes": len(listing.classes) if listing else None,
        "notes": list(listing.notes) if listing else [],
        "unused": listing.unused if listing else {},
        "bad": [
            {"file": bad.file, "problem": bad.problem, "split": bad.split, "class": bad.class_id} for bad in check.bad
        ],
    }
    return CommandResult(check, tuple(blocks), json, problem=check.summary)


def checked_lines(folder: Path, checked: Mapping[str, int]) -> list[str]:
    """What a check of every image found."""
    lines = [
        f"{folder}: all {count} {name} images are as they were prepared" for name, count in checked.items() if count
    ]
    without = f"{folder}: was prepared without digests, so only its shape was checked; prepare it again to have some"
    return lines or [without]


def _read_as(manifest: Manifest) -> list[str]:
    """The layout that was recognised, how validation images were chosen, and what is odd about the sources."""
    lines = [f"read as {manifest.read_as}"] if manifest.read_as else []
    if manifest.val_split:
        fraction, seed = manifest.val_split["fraction"], manifest.val_split["seed"]
        lines.append(
            f"note: {fraction:g} of the images of each class were set aside for validation (--val-fraction "
            f"{fraction:g} --split-seed {seed:.0f})"
        )
    return [*lines, *(f"note: {note}" for note in manifest.notes)]


def _left_out(manifest: Manifest) -> list[str]:
    """What is in the sources and not in the data set."""
    lines = [f"left out: {problem}" for problem in manifest.skipped_images]
    if manifest.skipped:
        count, named = manifest.skipped, len(manifest.skipped_images)
        rest = f"; the first {named} are named, and by --check all" if named < count else ""
        lines.append(f"note: {count} {'images' if count > 1 else 'image'} could not be used; left out{rest}")
    return [*lines, *_unused(manifest.unused)]


def _unused(unused: Mapping[str, int]) -> list[str]:
    """The files of the sources that are neither images of the data set nor read for it; empty where there are none."""
    if not unused:
        return []
    count = sum(unused.values())
    kinds = ", ".join(_kind(kind, number) for kind, number in unused.items())
    return [f"note: {count} {'files were' if count > 1 else 'file was'} not used: {kinds}"]


def _kind(kind: str, count: int) -> str:
    """Such as `3 .txt`, `2 hidden or system files`, `test/ (10)`."""
    if kind.endswith("/"):
        return f"{kind} ({count})"
    return f"{count} {kind}" + ("s" if " " in kind and count > 1 else "")
