"""Sets training images aside for calibration, so that validation images stay untouched; names splits by digests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from greenedge.data.prepared import DIGEST_BYTES, PreparedSplit, image_digest
from greenedge.errors import DataError

IntArray = npt.NDArray[np.int64]

# The draw does not depend on the training seed, so that runs of several seeds can be compared.
_SEED = 20_240_601
_DEFAULT_PER_CLASS = 25


def split_digest(split: PreparedSplit) -> str:
    """Returns the SHA-256 of what a split holds: its classes, and the label and the pixels of each image, in order.

    Equal content has equal digests, whatever the data set's name, place and other images. Where no digests of the
    images are kept (format 1), all of its pixels are read.
    """
    return _digest(split, pixel_digests(split))


def pixel_digests(split: PreparedSplit) -> np.ndarray:
    """Returns the digest of each image of a split, uint8 (n, 16), computed where none are kept (format 1)."""
    if split.digests is not None:
        kept: np.ndarray = split.digests.pixels[split.rows]
        return kept
    found = b"".join(image_digest(split.images[row]) for row in split.rows.tolist())
    return np.frombuffer(found, np.uint8).reshape(-1, DIGEST_BYTES)


def source_digest(split: PreparedSplit) -> str | None:
    """Returns a digest like `split_digest` of the files that the images were decoded from.

    It is equal for preparations at different sizes, and None where the files are not known (format 1).
    """
    return None if split.digests is None else _digest(split, split.digests.sources[split.rows])


def former_split_digest(split: PreparedSplit) -> str:
    """Returns the digest that named a split before digests of images were kept: of classes, labels and rows."""
    digest = hashlib.sha256(_class_ids(split))
    for array in (split.labels, split.rows):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _digest(split: PreparedSplit, images: np.ndarray) -> str:
    digest = hashlib.sha256(_class_ids(split))
    digest.update(np.ascontiguousarray(split.labels[split.rows]).data)
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def _class_ids(split: PreparedSplit) -> bytes:
    return json.dumps([info.id for info in split.classes]).encode()


def carve_calibration(
    train: PreparedSplit, per_class: int | None, fraction: float | None = None
) -> tuple[PreparedSplit, PreparedSplit]:
    """Splits the training images into (training, calibration).

    The same images are drawn every time, the first of each class in a fixed random order, so that a larger draw
    contains a smaller one. No pixels are copied.

    Args:
        train: the training images.
        per_class: how many images of each class are set aside; None: `fraction` decides.
        fraction: of the images of each class, rounded down; where both are None, a fifth but at most 25.

    Raises:
        DataError: a class would keep no image to train on.
    """
    rows, position = _drawn(train)
    counts = np.bincount(train.labels[train.rows], minlength=len(train.classes))
    if per_class is not None:
        wanted = np.full_like(counts, per_class)
    elif fraction is not None:
        wanted = np.floor(fraction * counts + 1e-9).astype(np.int64)
    else:
        wanted = np.minimum(counts // 5, _DEFAULT_PER_CLASS)

    if per_class and counts.min() <= per_class:
        scarce = train.classes[int(counts.argmin())].id
        raise DataError(
            f"calibration_per_class is {per_class}, but class {scarce!r} has {counts.min()} training images; "
            "choose a smaller number, or set data.calibration_fraction instead"
        )

    set_aside = position < wanted[train.labels[rows]]
    training, calibration = rows[~set_aside], rows[set_aside]
    return replace(train, rows=np.sort(training)), replace(train, name="calibration", rows=np.sort(calibration))


def take_fraction(train: PreparedSplit, fraction: float) -> PreparedSplit:
    """Keeps a fraction in (0, 1] of the images of each class, rounded up; a larger fraction contains a smaller one."""
    rows, position = _drawn(train)
    counts = np.bincount(train.labels[train.rows], minlength=len(train.classes))
    wanted = np.ceil(fraction * counts - 1e-9).astype(np.int64)
    return replace(train, rows=np.sort(rows[position < wanted[train.labels[rows]]]))


def _drawn(split: PreparedSplit) -> tuple[IntArray, IntArray]:
    """Returns the rows of a split in a fixed random order, class by class, and their positions within their class."""
    shuffled = split.rows[np.random.default_rng(_SEED).permutation(len(split.rows))]
    by_class = shuffled[np.argsort(split.labels[shuffled], kind="stable")]
    counts = np.bincount(split.labels[split.rows], minlength=len(split.classes))
    starts = np.cumsum(counts) - counts
    return by_class, np.arange(len(by_class)) - np.repeat(starts, counts)
