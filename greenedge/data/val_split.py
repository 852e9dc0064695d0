"""Sets validation images aside from the training images of a source that has none."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from greenedge.data.layouts import Listing, Record
from greenedge.errors import DataError, UsageError


def set_val_aside(listing: Listing, digest: Callable[[Record], bytes], fraction: float, seed: int) -> Listing:
    """Moves a share of each class's training images to the validation split.

    Images are ordered by a digest of the seed and of their bytes, so the choice depends on neither names nor layout,
    and images of equal bytes come to one side. A class gives at least one image and keeps at least one.

    Args:
        listing: of a source without validation images.
        digest: returns the digest of an image's bytes.
        fraction: of the images of each class, in (0, 1).
        seed: another one gives another choice.

    Raises:
        UsageError: the fraction is out of range.
        DataError: no class has two different images.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"--val-fraction: expected a number between 0 and 1, found {fraction:g}")
    same: dict[int, dict[bytes, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in listing.splits["train"]:
        same[record.label][_digest_of(record, digest)].append(record)

    val: set[str] = set()
    sides: dict[bytes, bool] = {}  # digest -> whether it is a validation image, in whatever class it occurs
    for _, groups in sorted(same.items()):
        images = sum(map(len, groups.values()))
        wanted = min(max(1, round(fraction * images)), images - 1)
        ordered = sorted(groups, key=lambda key: hashlib.sha256(b"%d:" % seed + key).digest())
        taken = sum(len(groups[key]) for key in ordered if sides.get(key))
        for key in ordered:
            if key not in sides:
                sides[key] = taken + len(groups[key]) <= wanted
                taken += len(groups[key]) * sides[key]
            if sides[key]:
                val.update(record.path for record in groups[key])

    if not val:
        raise DataError("no class has two different images, so none can be set aside for validation; add some")
    train = listing.splits["train"]
    splits = {
        "train": tuple(record for record in train if record.path not in val),
        "val": tuple(record for record in train if record.path in val),
    }
    left = {record.label for record in splits["train"]}
    for label, info in enumerate(listing.classes):
        if label not in left:
            raise DataError(f"class {info.id!r} holds only images that other classes hold too; remove those it shares")
    return replace(listing, splits=splits)


def _digest_of(record: Record, digest: Callable[[Record], bytes]) -> bytes:
    try:
        return digest(record)
    except DataError:  # it is reported when it is decoded
        return hashlib.sha256(record.path.encode("utf-8", "surrogateescape")).digest()
