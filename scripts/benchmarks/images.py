"""Prepares images for the benchmarks, as greenedge stores them and as files in folders."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from greenedge.data.layouts import read_listing
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.data.synth import SynthOptions, synthesize
from greenedge.data.tree import SourceTree

REAL = Path(__file__).parents[3] / "shared" / "data" / "tiny-imagenet-200" / "train-0.zip"


@dataclass(frozen=True)
class Images:
    """The same training images in two forms.

    Attributes:
        prepared: greenedge's arrays.
        folder: one folder per class, for torchvision's ImageFolder.
    """

    prepared: PreparedSplit
    folder: Path


def training_images(work: Path, per_class: int) -> Images:
    """Writes `per_class` images of each TinyImageNet class below `work`, or generated ones where it is missing."""
    source, classes = REAL, 200
    if not source.exists():
        print("TinyImageNet is missing; timing generated images", file=sys.stderr)
        source, classes = work / "generated", 10
        synthesize(source, SynthOptions(per_class=per_class * 20, val_per_class=1))
        per_class *= 20
    options = PrepareOptions(classes=classes, per_class=per_class)
    prepare([source], work / "prepared", options)
    with SourceTree([source]) as tree:
        listing = read_listing(tree).subset(classes, per_class)
        for record in listing.splits["train"]:
            path = work / "folder" / listing.classes[record.label].id / Path(record.path).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tree.read(record.path))
    return Images(open_prepared(work / "prepared").splits["train"], work / "folder")
