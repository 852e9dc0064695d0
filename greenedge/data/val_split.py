"""Sets validation images aside from the training images of a source that has none."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from greenedge.data.layouts import Listing, Record
from greenedge.errors import DataError


def set_val_aside(listing: Listing, digests: Sequence[bytes], fraction: float, seed: int) -> Listing:
    """Moves a share of each class's training images to the validation split.

    Images are ordered by a digest of the seed and of their bytes, so the choice depends on neither names nor layout,
    and images of equal bytes come to one side. A class gives at least one image and keeps at least one.

    Args:
        listing: of a source without validation images.
        digests: of the bytes of each training image, in the order of the listing.
        fraction: of the images of each class, in (0, 1).
        seed: another one gives another choice.

    Raises:
        DataError: no class has two different images.
    """
    same: dict[int, dict[bytes, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record, digest in zip(listing.splits["train"], digests, strict=True):
        same[record.label][digest].append(record)

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
