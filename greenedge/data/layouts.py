"""What a tree of files means: its classes and, for each split, which image has which label."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from greenedge.data.decode import FORMATS
from greenedge.data.tree import Tree
from greenedge.errors import DataError

SPLITS = ("train", "val")


@dataclass(frozen=True)
class ClassInfo:
    """One class: its identifier in the source (a wnid, a folder's name) and a name for people."""

    id: str
    name: str


@dataclass(frozen=True)
class Record:
    """One image: its path in the tree and its class index."""

    path: str
    label: int


@dataclass(frozen=True)
class Listing:
    """Classes in index order (sorted by identifier) and the records of each split, sorted by path."""

    classes: tuple[ClassInfo, ...]
    splits: dict[str, tuple[Record, ...]]

    def subset(self, classes: int | None, per_class: int | None) -> Listing:
        """The first `classes` classes, and of each the first `per_class` training images.

        Raises:
            DataError: fewer classes exist, or a class has fewer training images.
        """
        if any(number is not None and number < 1 for number in (classes, per_class)):
            raise DataError("a subset needs at least one class and one training image of each")
        if classes is not None and classes > len(self.classes):
            raise DataError(f"{classes} classes were asked for, and the source has {len(self.classes)}")
        kept = self.classes[:classes]
        splits = {
            name: tuple(record for record in records if record.label < len(kept))
            for name, records in self.splits.items()
        }
        if per_class is not None:
            splits["train"] = _first_of_each(splits["train"], kept, per_class)
        return replace(self, classes=kept, splits=splits)


def read_listing(tree: Tree) -> Listing:
    """Reads TinyImageNet's official layout, or a class-per-folder one (`train/<class>/*`, `val/<class>/*`).

    Raises:
        DataError: no images, a class with none, a file that is no image, or annotations that do not fit.
    """
    listing = _official(tree) if _is_official(tree) else _class_per_folder(tree)
    if not any(listing.splits.values()):
        raise DataError(f"{_names(tree)}: no images below train/ or val/")
    counts = Counter(record.label for record in listing.splits["train"])
    empty = [c.id for index, c in enumerate(listing.classes) if not counts[index]]
    if listing.splits["train"] and empty:
        raise DataError(
            f"{_names(tree)}: class {empty[0]!r} has no training images"
            + (f", nor have {len(empty) - 1} others" if len(empty) > 1 else "")
            + "; add some, or remove the class"
        )
    return listing


def _is_official(tree: Tree) -> bool:
    """Whether the tree, which may be a part of the archive, has TinyImageNet's layout."""
    if "wnids.txt" in tree or "val/val_annotations.txt" in tree:
        return True
    return any(path.startswith("train/") and path.split("/")[2:3] == ["images"] for path in tree.paths)


def _official(tree: Tree) -> Listing:
    train = {path: path.split("/")[1] for path in _images_of(tree, "train")}
    val = _annotations(tree)
    if "wnids.txt" in tree:
        ids = sorted({line.strip() for line in tree.read_lines("wnids.txt")} - {""})
        foreign = sorted(set(train.values()) - set(ids))
        if foreign:
            raise DataError(f"{_names(tree)}: train/{foreign[0]} is not among the classes of wnids.txt")
    else:
        ids = sorted(set(train.values()))
    names = _words(tree)
    return _listing(tree, [ClassInfo(i, names.get(i, i)) for i in ids], train, val)


def _images_of(tree: Tree, split: str) -> list[str]:
    """The images of a split of the official layout: train/<wnid>/images/* or val/images/*; box files are no images."""
    depth = {"train": 2, "val": 1}[split]
    images = []
    for path in tree.paths:
        parts = path.split("/")
        if parts[0] != split:
            continue
        if parts[depth : depth + 1] == ["images"] and len(parts) > depth + 1:
            images.append(_checked_image(tree, path))
        elif _has_image_name(path):
            raise DataError(f"{tree.locate(path)}: an image outside {split}'s images folders; move or remove it")
    return images


def _class_per_folder(tree: Tree) -> Listing:
    labels: dict[str, dict[str, str]] = {}
    for split in SPLITS:
        paths = [path for path in tree.paths if path.startswith(f"{split}/")]
        loose = [path for path in paths if path.count("/") < 2]
        if loose:
            raise DataError(f"{tree.locate(loose[0])}: lies outside a class folder ({split}/<class>/)")
        labels[split] = {_checked_image(tree, path): path.split("/")[1] for path in paths}
    folders = {f.split("/")[1] for f in tree.folders if f.startswith("train/")}
    ids = sorted(folders or set(labels["val"].values()))
    return _listing(tree, [ClassInfo(i, i) for i in ids], labels["train"], labels["val"])


def _listing(tree: Tree, classes: list[ClassInfo], train: dict[str, str], val: dict[str, str]) -> Listing:
    index = {info.id: label for label, info in enumerate(classes)}
    splits = {}
    for split, labels in (("train", train), ("val", val)):
        for path, identifier in labels.items():
            if identifier not in index:
                raise DataError(f"{tree.locate(path)}: its class {identifier!r} has no training images")
        splits[split] = tuple(Record(path, index[labels[path]]) for path in sorted(labels))
    return Listing(tuple(classes), splits)


def _annotations(tree: Tree) -> dict[str, str]:
    """Path of each validation image -> class identifier, from `val/val_annotations.txt`."""
    annotations = "val/val_annotations.txt"
    if annotations not in tree:
        sorted_by_class = [path for path in tree.paths if path.startswith("val/") and path.count("/") > 1]
        if any(path.startswith("val/images/") for path in sorted_by_class):
            raise DataError(f"{_names(tree)}: val/images has no {annotations} to say the classes")
        return {_checked_image(tree, path): path.split("/")[1] for path in sorted_by_class}
    images = _images_of(tree, "val")
    known = set(images)
    classes = set()
    if "wnids.txt" in tree:
        classes = {line.strip() for line in tree.read_lines("wnids.txt")}
    labels: dict[str, str] = {}
    for number, line in enumerate(tree.read_lines(annotations), start=1):
        if not line.strip():
            continue
        where = f"{tree.locate(annotations)}:{number}"
        fields = line.split("\t")
        if len(fields) < 2:
            raise DataError(f"{where}: expected file and class separated by a tab, found {line!r}")
        path, identifier = f"val/images/{fields[0]}", fields[1].strip()
        if path not in known:
            raise DataError(f"{where}: names {fields[0]!r}, which is not among the images in val/images")
        if classes and identifier not in classes:
            raise DataError(f"{where}: names the class {identifier!r}, which is not in wnids.txt")
        if labels.setdefault(path, identifier) != identifier:
            raise DataError(f"{where}: gives {fields[0]!r} a second class, {identifier!r}")
    unnamed = sorted(known - set(labels))
    if unnamed:
        raise DataError(f"{tree.locate(unnamed[0])}: has no line in {annotations}")
    return labels


def _words(tree: Tree) -> dict[str, str]:
    """Wnid -> name, from `words.txt` where there is one."""
    if "words.txt" not in tree:
        return {}
    pairs = (line.split("\t", 1) for line in tree.read_lines("words.txt") if "\t" in line)
    return {identifier: name.strip() for identifier, name in pairs}


def _has_image_name(path: str) -> bool:
    return "." + path.rpartition(".")[2].lower() in FORMATS


def _checked_image(tree: Tree, path: str) -> str:
    """The path, which must be named like an image."""
    if _has_image_name(path):
        return path
    raise DataError(
        f"{tree.locate(path)}: its name does not end like an image's ({', '.join(FORMATS)}); rename or remove it"
    )


def _first_of_each(records: tuple[Record, ...], classes: tuple[ClassInfo, ...], n: int) -> tuple[Record, ...]:
    seen: Counter[int] = Counter()
    kept = []
    for record in records:
        seen[record.label] += 1
        if seen[record.label] <= n:
            kept.append(record)
    for label, info in enumerate(classes):
        if records and seen[label] < n:
            raise DataError(f"{n} training images a class were asked for, and {info.id!r} has {seen[label]}")
    return tuple(kept)


def _names(tree: Tree) -> str:
    return ", ".join(str(source) for source in tree.sources)
