"""Finds the folder of a source that holds its splits, and explains what is wrong if there is none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.data.decode import is_image_name
from greenedge.data.walk import Found
from greenedge.errors import DataError

# Lower-case name of a folder -> its split.
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
# Names of folders that hold the validation images only where no other does, the better one first.
OTHER_VAL_NAMES = ("dev", "test")
ANNOTATIONS = "val_annotations.txt"


@dataclass(frozen=True)
class Root:
    """The place of the splits in a source.

    Attributes:
        prefix: the path of their folder: empty, or ending with `/`.
        splits: name of a folder there -> its place in the tree: `train` or `val`, or `train/<class>` without splits.
    """

    prefix: str
    splits: dict[str, str]

    @property
    def is_unsplit(self) -> bool:
        """Whether the folders are classes, not splits."""
        return any("/" in place for place in self.splits.values())


def find_root(source: Path, found: Found) -> Root:
    """Finds the folder that holds the splits, the one closest to the top; without splits, the one of all classes.

    Beside `train`, where nothing else is called a validation split, `dev` or else `test` is it.

    Raises:
        DataError: there is none, there are several, or two folders mean one split.
    """
    children: defaultdict[str, list[str]] = defaultdict(list)
    for folder in sorted(found.folders):
        parent, _, name = folder.rpartition("/")
        children[parent].append(name)
    with_images = {path.rpartition("/")[0] for path in found.files if is_image_name(path)}
    _refuse_detection(source, children, with_images)

    roots = [
        parent
        for parent, names in children.items()
        if any(_is_split(_joined(parent, name), children, with_images, found) for name in names)
    ]
    if not roots:
        if classes := _class_folders(source, with_images):
            return classes
        raise DataError(_without_splits(source, with_images))

    depth = min(_depth(root) for root in roots)
    closest = [root for root in roots if _depth(root) == depth]
    if len(closest) > 1:
        raise DataError(_several(source, closest))

    root = closest[0]
    splits = {name: SPLIT_NAMES[name.lower()] for name in children[root] if name.lower() in SPLIT_NAMES}
    for split in sorted(set(splits.values())):
        names = [name for name, meant in splits.items() if meant == split]
        if len(names) > 1:
            raise DataError(
                f"{source / root}: both {names[0]}/ and {names[1]}/ hold the {split} images; merge them or remove one"
            )
    if set(splits.values()) == {"train"}:
        splits |= _other_val(root, children)
    return Root(f"{root}/" if root else "", splits)


def _other_val(root: str, children: dict[str, list[str]]) -> dict[str, str]:
    """Finds the folder that serves for validation where none is called so; one without class folders does not."""
    names = {name.lower(): name for name in children[root]}
    for lower in OTHER_VAL_NAMES:
        if lower in names and set(children.get(_joined(root, names[lower]), ())) - {"images"}:
            return {names[lower]: "val"}
    return {}


def _class_folders(source: Path, with_images: set[str]) -> Root | None:
    """Finds class folders side by side; None where images lie elsewhere too, or a folder is called like a split."""
    parents = {folder.rpartition("/")[0] for folder in with_images}
    names = {folder.rpartition("/")[2] for folder in with_images}
    is_split_named = any(name.lower() in (*SPLIT_NAMES, *OTHER_VAL_NAMES) for name in (*names, source.name))
    if len(parents) != 1 or len(with_images) < 2 or "" in with_images or is_split_named:
        return None
    parent = parents.pop()
    return Root(f"{parent}/" if parent else "", {name: f"train/{name}" for name in sorted(names)})


def _joined(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _depth(root: str) -> int:
    return root.count("/") + 1 if root else 0


def _is_split(folder: str, children: dict[str, list[str]], with_images: set[str], found: Found) -> bool:
    """Tells whether a folder is a split and not a class that is called `train`, which holds no folders."""
    if folder.rpartition("/")[2].lower() not in SPLIT_NAMES:
        return False
    return folder in children or folder not in with_images or f"{folder}/{ANNOTATIONS}" in found.files


def _several(source: Path, roots: Sequence[str]) -> str:
    shown = ", ".join(str(source / root) for root in roots[:3]) + (", ..." if len(roots) > 3 else "")
    return f"{source}: holds {len(roots)} data sets ({shown}); name the one to prepare"


def _refuse_detection(source: Path, children: dict[str, list[str]], with_images: set[str]) -> None:
    """Refuses a folder images/ beside a folder labels/ without images, anywhere in the source."""
    for parent, names in children.items():
        folders = {name.lower(): name for name in names}
        if not {"images", "labels"} <= folders.keys():
            continue
        labels = _joined(parent, folders["labels"])
        if not any(folder == labels or folder.startswith(f"{labels}/") for folder in with_images):
            raise DataError(
                f"{source}: holds {_joined(parent, folders['images'])}/ and {labels}/, YOLO's layout for detection, "
                "which has no class per image; put each image into train/<class>/ or val/<class>/"
            )


def _without_splits(source: Path, with_images: set[str]) -> str:
    if source.name.lower() in SPLIT_NAMES and with_images - {""}:
        return (
            f"{source}: holds folders of images but no train/ and val/; name the folder above it, {source.parent}, "
            "instead"
        )

    folders = sorted(with_images - {""})
    split = next((folder for folder in folders if folder.rpartition("/")[2].lower() in SPLIT_NAMES), None)
    if split is not None and all(folder.rpartition("/")[2].lower() in (*SPLIT_NAMES, "test") for folder in folders):
        return f"{source}: {split}/ holds images without a folder per class; expected train/<class>/ and val/<class>/"
    if folders:
        shown = ", ".join(f"{folder}/" for folder in folders[:3]) + (", ..." if len(folders) > 3 else "")
        return (
            f"{source}: holds folders of images ({shown}) but no train/ and val/; expected train/<class>/ and "
            "val/<class>/, so move some images of each class below val/ and the others below train/"
        )
    return f"{source}: holds no train or val folder; expected train/<class>/ and val/<class>/, or TinyImageNet's layout"
