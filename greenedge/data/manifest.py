"""What a prepared data set says of itself: `manifest.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from greenedge.config.convert import Count, CountOrZero, Range
from greenedge.config.records import RecordError, read_record
from greenedge.data.layouts import ClassInfo
from greenedge.data.originals import ARRAYS, ORIGINALS, Store
from greenedge.errors import DataError

FORMAT = 2
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SplitInfo:
    """The manifest's entry of a split.

    Attributes:
        images: how many there are.
        digest: SHA-256 of its labels, of the digests of its images and of originals' offsets; empty in format 1.
        paths_digest: SHA-256 of the file of its images' paths; empty in format 1.
    """

    images: CountOrZero
    digest: str = ""
    paths_digest: str = ""


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        format: 2; format 1 has no digests and no paths.
        image_size: pixels per side of the stored images, or of originals where nothing else is asked for.
        classes: in the order of the labels.
        splits: `train` and `val`.
        store: how the images are kept.
        shorter_sides: of originals, the smallest, the median and the largest shorter side in pixels.
        subset: how many classes and training images per class were asked for, or null.
        sources: name, kind and digest of each source.
        versions: of the programs that prepared it.
        skipped: how many images could not be used and were left out.
        skipped_images: the paths of the first hundred of these, with the reason.
        unused: kind of file -> how many files of the sources are not images of the data set.
        read_as: the layout of the sources, for people; empty in older ones.
        notes: what is odd about the sources, a sentence each.
        val_split: the fraction and seed by which validation images were set aside; empty where the sources split.
    """

    format: Literal[1, 2]
    image_size: Annotated[int, Range(minimum=1, maximum=65_500)]
    classes: tuple[ClassInfo, ...]
    splits: dict[str, SplitInfo]
    subset: dict[str, Count | None] = field(default_factory=dict)
    sources: tuple[dict[str, Any], ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    skipped: CountOrZero = 0
    skipped_images: tuple[str, ...] = ()
    unused: dict[str, Count] = field(default_factory=dict)
    read_as: str = ""
    notes: tuple[str, ...] = ()
    val_split: dict[str, float] = field(default_factory=dict)
    store: Store = ARRAYS
    shorter_sides: dict[str, Count] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the rules between keys."""
        if not self.classes:
            raise ValueError("it has no classes")
        if len({info.id for info in self.classes}) < len(self.classes):
            raise ValueError("two of its classes have the same id")
        if self.format == 1 and self.store == ORIGINALS:
            raise ValueError("its format is 1, which knew no originals")
        if not set(self.splits) <= {"train", "val"}:
            raise ValueError(f"its splits are {', '.join(self.splits)}, not train and val")


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a prepared data set.

    Raises:
        DataError: the manifest is missing or damaged.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no prepared data set here; make one with `greenedge data prepare SOURCE --out {folder}`"
        )
    if not path.is_file():
        raise DataError(
            f"{folder}: has no {MANIFEST}, so it is not a prepared data set; if it holds images, run "
            f"`greenedge data prepare {folder} --out ANOTHER`"
        )
    try:
        return read_record(path, Manifest)
    except (RecordError, OSError) as error:
        raise DataError(f"{path}: {error}; prepare again") from None
