"""Reads the classes of a source, and the label of each image, from the layout of its files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from unicodedata import normalize

from greenedge.data.decode import is_image_name
from greenedge.data.problems import ProblemsError
from greenedge.data.roots import ANNOTATIONS
from greenedge.data.tree import SourceTree
from greenedge.errors import DataError

SPLITS = ("train", "val")
_ANNOTATIONS = f"val/{ANNOTATIONS}"


@dataclass(frozen=True)
class ClassInfo:
    """One class: its identifier in the source (a wnid or a folder's name) and its readable name."""

    id: str
    name: str


@dataclass(frozen=True)
class Record:
    """One image: its path in the source tree and its class index."""

    path: str
    label: int


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        classes: in index order (sorted by identifier).
        splits: the images of each split, sorted by path.
        unused: kind of file -> how many files of the source are neither images of the data set nor read for it.
        read_as: the layout that was recognised, for people.
        unsplit: whether the layout has no place for validation images, so that some are set aside.
        notes: what is odd about the sources, a sentence each.
    """

    classes: tuple[ClassInfo, ...]
    splits: dict[str, tuple[Record, ...]]
    unused: dict[str, int] = field(default_factory=dict)
    read_as: str = ""
    unsplit: bool = False
    notes: tuple[str, ...] = ()

    def subset(self, classes: int | None, per_class: int | None) -> Listing:
        """Keeps the first `classes` classes, and the first `per_class` training images of each.

        Raises:
            DataError: fewer classes exist, or a class has fewer training images.
        """
        if any(number is not None and number < 1 for number in (classes, per_class)):
            raise DataError("a subset needs at least one class and one training image of each")
        if classes is not None and classes > len(self.classes):
            raise DataError(f"{classes} classes were asked for, but the source has {len(self.classes)}")

        kept = self.classes[:classes]
        splits = {
            name: tuple(record for record in records if record.label < len(kept))
            for name, records in self.splits.items()
        }
        if per_class is not None:
            splits["train"] = _first_of_each(splits["train"], kept, per_class)
        return replace(self, classes=kept, splits=splits)


def read_listing(tree: SourceTree) -> Listing:
    """Reads TinyImageNet's official layout, or a class-per-folder one (`train/<class>/*`, `val/<class>/*`).

    The places of the images decide, not the text files: validation images in one folder get their classes from
    `val_annotations.txt`, all others from their folders.

    Raises:
        DataError: no images, only one class, a class without images, images outside class folders, or annotations
            that do not fit.
    """
    images = {split: [p for p in tree.paths if p.startswith(f"{split}/") and is_image_name(p)] for split in SPLITS}

    flat = _flat_images(tree, images)
    _refuse_loose(tree, images, flat)
    labels = {
        split: {path: path.split("/")[1] for path in paths if path not in flat} for split, paths in images.items()
    }
    for split in SPLITS:
        _refuse_folders_of_folders(tree, split, labels[split])
    if flat:
        labels["val"] = _tiny_imagenet_labels(tree, flat, labels["val"])
    if not any(labels.values()):
        raise DataError(f"{_names(tree)}: has no images below train/ or val/")

    names = _words(tree)
    classes = [ClassInfo(_text(i), names.get(i, _text(i))) for i in _class_ids(tree, labels)]
    listing = _listing(tree, classes, labels)
    _check_classes(tree, listing)
    return replace(
        listing,
        unused=_unused(tree, labels, annotated=bool(flat)),
        read_as=_read_as(tree, annotated=bool(flat)),
        unsplit=tree.is_unsplit,
        notes=tree.notes,
    )


def _read_as(tree: SourceTree, annotated: bool) -> str:
    layout = "TinyImageNet's layout" if annotated else "class folders"
    return layout + "".join(f", validation images from {name}/" for name in sorted(tree.val_names))


def _flat_images(tree: SourceTree, images: dict[str, list[str]]) -> frozenset[str]:
    """Finds validation images of all classes in one folder: val/images/*, or val/* beside their annotations."""
    if any(path.startswith("train/images/") for path in images["train"]):
        return frozenset()  # `images` is a class
    annotated = _ANNOTATIONS in tree
    return frozenset(
        path
        for path in images["val"]
        if (annotated and path.count("/") == 1) or (path.startswith("val/images/") and path.count("/") == 2)
    )


def _refuse_loose(tree: SourceTree, images: dict[str, list[str]], flat: frozenset[str]) -> None:
    """Refuses images outside class folders."""
    problems = [
        f"{tree.locate(path)}: lies outside a class folder ({split}/<class>/)"
        for split, paths in images.items()
        for path in paths
        if path.count("/") == 1 and path not in flat
    ]
    if problems:
        raise ProblemsError(problems, f"{len(problems)} images lie outside class folders", "move or remove them")


def _refuse_folders_of_folders(tree: SourceTree, split: str, labels: dict[str, str]) -> None:
    """Refuses classes that hold only folders; a folder `images` within a class is allowed, as in TinyImageNet."""
    with_images = set()
    deeper: dict[str, set[str]] = {}
    for path, identifier in labels.items():
        inner = path.split("/")[2:]
        if len(inner) == 1 or (len(inner) == 2 and inner[0] == "images"):
            with_images.add(identifier)
        else:
            deeper.setdefault(identifier, set()).add(inner[0])
    for identifier in sorted(set(deeper) - with_images):
        held = sorted(deeper[identifier])
        shown = ", ".join(held[:3]) + (", ..." if len(held) > 3 else "")
        raise DataError(
            f"{_names(tree)}: {split}/{identifier} holds only folders ({shown}), no images; if those are the classes, "
            f"move them up to {split}/<class>/, or name the folder that holds them as train/<class>/"
        )


def _tiny_imagenet_labels(tree: SourceTree, flat: frozenset[str], in_folders: dict[str, str]) -> dict[str, str]:
    """Reads the class identifiers of TinyImageNet's validation images, by path, from their annotations."""
    if _ANNOTATIONS not in tree:
        raise DataError(f"{_names(tree)}: has no {_ANNOTATIONS}, which names the classes of the images in val/images")
    if in_folders:
        other = next(iter(in_folders))
        raise DataError(
            f"{_names(tree)}: validation images lie both in one folder ({min(flat)}) and in class folders ({other}); "
            "keep one of the two"
        )

    problems = []
    wnids = set(_wnids(tree) or ())
    labels: dict[str, str] = {}
    for number, line in enumerate(tree.read_lines(_ANNOTATIONS), start=1):
        if not line.strip():
            continue
        where = f"{tree.locate(_ANNOTATIONS)}:{number}"
        fields = line.split("\t")
        if len(fields) < 2:
            problems.append(f"{where}: expected file and class separated by a tab, found {line!r}")
            continue
        name, identifier = normalize("NFC", fields[0]), normalize("NFC", fields[1].strip())
        path = next((p for p in (f"val/images/{name}", f"val/{name}") if p in flat), None)
        if path is None:
            problems.append(f"{where}: names {name!r}, which is not among the images in val/images")
        elif wnids and identifier not in wnids:
            problems.append(f"{where}: names the class {identifier!r}, which is not in wnids.txt")
        elif labels.setdefault(path, identifier) != identifier:
            problems.append(f"{where}: gives {name!r} a second class, {identifier!r}")

    # After other problems this would name the same images twice.
    if not problems:
        problems = [f"{tree.locate(path)}: has no line in {_ANNOTATIONS}" for path in sorted(flat - set(labels))]
    if problems:
        raise ProblemsError(problems, f"{len(problems)} validation images have no valid class", "correct the file")
    return labels


def _class_ids(tree: SourceTree, labels: dict[str, dict[str, str]]) -> list[str]:
    folders = {f.split("/")[1] for f in tree.folders if f.startswith("train/")} | set(labels["train"].values())
    wnids = _wnids(tree)
    if wnids is None:
        return sorted(folders or set(labels["val"].values()))
    foreign = sorted(folders - set(wnids))
    if foreign:
        raise DataError(f"{_names(tree)}: train/{foreign[0]} is not among the classes of wnids.txt")
    return wnids


def _wnids(tree: SourceTree) -> list[str] | None:
    """Returns the classes that `wnids.txt` lists, sorted; None without such a file."""
    if "wnids.txt" not in tree:
        return None
    return sorted({normalize("NFC", line.strip()) for line in tree.read_lines("wnids.txt")} - {""})


def _listing(tree: SourceTree, classes: list[ClassInfo], labels: dict[str, dict[str, str]]) -> Listing:
    index = {info.id: label for label, info in enumerate(classes)}
    splits = {}
    for split in SPLITS:
        for path, identifier in labels[split].items():
            if _text(identifier) not in index:
                raise DataError(f"{tree.locate(path)}: its class {identifier!r} has no training images")
        splits[split] = tuple(Record(path, index[_text(labels[split][path])]) for path in sorted(labels[split]))
    return Listing(tuple(classes), splits)


def _check_classes(tree: SourceTree, listing: Listing) -> None:
    if len(listing.classes) < 2:
        only = listing.classes[0].id
        raise DataError(
            f"{_names(tree)}: has only one class, {only!r}; expected a folder of images per class below train/, so "
            "name the folder above train/"
        )
    counts = Counter(record.label for record in listing.splits["train"])
    empty = [c.id for index, c in enumerate(listing.classes) if not counts[index]]
    if listing.splits["train"] and empty:
        raise DataError(
            f"{_names(tree)}: class {empty[0]!r} has no training images"
            + (f", and neither have {len(empty) - 1} others" if len(empty) > 1 else "")
            + "; add some, or remove the class"
        )


def _unused(tree: SourceTree, labels: dict[str, dict[str, str]], annotated: bool) -> dict[str, int]:
    """Counts by kind the files that are neither images of the data set nor texts that were read."""
    texts = {"wnids.txt", "words.txt"} | ({_ANNOTATIONS} if annotated else set())
    kinds = Counter(tree.ignored)
    for path in tree.paths:
        if path not in labels["train"] and path not in labels["val"] and path not in texts and not _is_boxes(path):
            kinds[PurePosixPath(path).suffix.lower() or "file without ending"] += 1
    return {_text(kind): count for kind, count in sorted(kinds.items())}


def _is_boxes(path: str) -> bool:
    """Tells whether a file is TinyImageNet's train/<wnid>/<wnid>_boxes.txt, the bounding boxes of the objects."""
    parts = path.split("/")
    return len(parts) == 3 and parts[0] == "train" and parts[2] == f"{parts[1]}_boxes.txt"


def _words(tree: SourceTree) -> dict[str, str]:
    """Reads the names of the wnids from `words.txt`; empty without such a file."""
    if "words.txt" not in tree:
        return {}
    pairs = (line.split("\t", 1) for line in tree.read_lines("words.txt") if "\t" in line)
    return {identifier: name.strip() for identifier, name in pairs}


def _text(name: str) -> str:
    """Returns a class's name as text, with bytes of a folder's name that are not UTF-8 escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _first_of_each(records: tuple[Record, ...], classes: tuple[ClassInfo, ...], n: int) -> tuple[Record, ...]:
    seen: Counter[int] = Counter()
    kept = []
    for record in records:
        seen[record.label] += 1
        if seen[record.label] <= n:
            kept.append(record)
    for label, info in enumerate(classes):
        if records and seen[label] < n:
            raise DataError(f"{n} training images per class were asked for, but {info.id!r} has {seen[label]}")
    return tuple(kept)


def _names(tree: SourceTree) -> str:
    return ", ".join(str(source) for source in tree.sources)
