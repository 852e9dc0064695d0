"""Refuses images that a network was trained on where they would pass for others."""

from __future__ import annotations

import logging
from pathlib import Path

from greenedge.data.prepared import PreparedSplit
from greenedge.data.seen import SeenImages, count_trained_on, is_split_of
from greenedge.errors import DataError

_log = logging.getLogger("greenedge")


def check_unseen(split: PreparedSplit, seen: SeenImages | None, weights: Path, data: Path, *, named: bool) -> None:
    """Images that a network was trained on may not pass for others.

    `train` must be the images trained on. `calibration` must be those that were set aside, or, where another data set
    is named, images of which none was trained on. Of `val`, a part may have been (copies, in a set of photos), which is
    logged, but not most.

    Args:
        split: what is to be run.
        seen: the images that the network was trained on; None where that is unknown.
        weights: its checkpoint.
        data: the prepared data set of the split.
        named: whether the user named that data set.

    Raises:
        DataError: the split is not what its name says.
    """
    name = split.name
    if seen is None:
        if name != "val":
            _log.warning(
                "note: %s does not say which images it was trained on, so %s images are taken on trust", weights, name
            )
        return
    if name in ("train", "calibration") and is_split_of(split, seen, "train" if name == "train" else "calibration"):
        return
    if name == "train":
        raise DataError(f"{data}: its training images are not those that {weights} was trained on")

    trained_on = count_trained_on(split, seen)
    if trained_on is None:
        if name == "calibration":
            raise DataError(
                f"{data}: keeps no digests of its files, so that it cannot be told whether {weights} was trained on "
                "its calibration images; prepare the data set again"
            )
        return

    whole = f"{trained_on} of the {len(split)} {name} images of {data}"
    if trained_on > (0 if name == "calibration" else len(split) // 2):
        raise DataError(f"{whole} are among those that {weights} was trained on; use images that it has not seen")
    if trained_on:
        _log.warning("note: %s are copies of images that %s was trained on", whole, weights)
    if name == "calibration" and not named:
        raise DataError(
            f"{data}: is not the data set that {weights} was trained on, as its calibration images show; name it with "
            "--data to use it in place of that"
        )
