"""Records the images that a network was trained on with its weights, so that an evaluation on them is noticed."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from greenedge.config.records import RecordError, convert_record
from greenedge.data.prepared import PreparedSplit
from greenedge.data.splits import pixel_digests, source_digest, split_digest

# Bytes kept of each image's digest: among 10^6 times 10^6 pairs of images, one false match has a chance of 1 in 280.
_KEPT_BYTES = 6


@dataclass(frozen=True)
class SeenImages:
    """The training images of a network, by their digests.

    Attributes:
        kind: `sources` for digests of the files they were decoded from, equal at every size; `pixels` for those of the
            stored images.
        train: names the training split.
        calibration: names the images that were set aside.
        trained: uint64 (n,), sorted: the start of the digest of each training image.
    """

    kind: Literal["sources", "pixels"]
    train: str
    calibration: str
    trained: np.ndarray


def seen_images(train: PreparedSplit, calibration: PreparedSplit) -> SeenImages:
    """Returns what is kept of a run's splits."""
    kind: Literal["sources", "pixels"] = "pixels" if train.digests is None else "sources"
    return SeenImages(kind, _name(train, kind), _name(calibration, kind), np.unique(_starts(train, kind)))


def is_split_of(split: PreparedSplit, seen: SeenImages, name: Literal["train", "calibration"]) -> bool:
    """Tells whether a split is exactly the one that was trained on, or set aside."""
    if seen.kind == "sources" and split.digests is None:
        return False
    return _name(split, seen.kind) == (seen.train if name == "train" else seen.calibration)


def count_trained_on(split: PreparedSplit, seen: SeenImages) -> int | None:
    """Counts the images of a split that were trained on; None where its data set has no digests to tell."""
    if seen.kind == "sources" and split.digests is None:
        return None
    return int(np.isin(_starts(split, seen.kind), seen.trained).sum())


def plain_seen(seen: SeenImages) -> dict[str, str]:
    """Returns the digests as text, for the metadata of a file of weights."""
    starts = seen.trained.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - _KEPT_BYTES :]
    images = base64.b64encode(starts.tobytes()).decode()
    return {"kind": seen.kind, "train": seen.train, "calibration": seen.calibration, "images": images}


@dataclass(frozen=True)
class _Plain:
    kind: Literal["sources", "pixels"]
    train: str
    calibration: str
    images: str


def parse_seen(value: Any) -> SeenImages:
    """Reads what `plain_seen` returned.

    Raises:
        RecordError: the value is something else.
    """
    plain = convert_record(value, _Plain)
    try:
        content = base64.b64decode(plain.images, validate=True)
        starts = np.frombuffer(content, np.uint8).reshape(-1, _KEPT_BYTES)
    except (binascii.Error, ValueError):
        raise RecordError("is damaged: its list of images cannot be read") from None
    return SeenImages(plain.kind, plain.train, plain.calibration, _as_numbers(starts))


def _name(split: PreparedSplit, kind: Literal["sources", "pixels"]) -> str:
    return split_digest(split) if kind == "pixels" else source_digest(split) or ""


def _starts(split: PreparedSplit, kind: Literal["sources", "pixels"]) -> np.ndarray:
    """Returns the start of each image's digest as a number, uint64 (n,)."""
    if kind == "sources" and split.digests is not None:
        return _as_numbers(split.digests.sources[split.rows, :_KEPT_BYTES])
    return _as_numbers(pixel_digests(split)[:, :_KEPT_BYTES])


def _as_numbers(starts: np.ndarray) -> np.ndarray:
    padded = np.zeros((len(starts), 8), np.uint8)
    padded[:, 8 - _KEPT_BYTES :] = starts
    numbers: np.ndarray = padded.view(">u8")[:, 0].astype(np.uint64)
    return numbers
