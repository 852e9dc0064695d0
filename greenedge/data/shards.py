"""Reads WebDataset shards: tar files in which `KEY.jpg` and `KEY.cls`, or `KEY.json`, are an image and its class."""

from __future__ import annotations

import hashlib
import itertools
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenedge.data.decode import IMAGE_ENDINGS
from greenedge.data.entries import Entry, list_entries, split_of_name
from greenedge.data.layouts import Listing
from greenedge.data.problems import ProblemsError
from greenedge.data.shard_classes import classes_beside, cls_label, json_label, named, split_of_folder
from greenedge.data.tars import TAR_ERRORS, TarArchive, incomplete_tar, is_tar, list_tar
from greenedge.errors import DataError

_MAX_JSON_BYTES = 1 << 20
_MEMBERS_LOOKED_AT = 64


def is_shard(source: Path) -> bool:
    """Tells by its first members whether a tar file is a shard: whether these have a class beside an image.

    Raises:
        DataError: it is no complete tar file.
    """
    if not is_tar(source) or not source.is_file():
        return False
    try:
        with tarfile.open(source, "r:" if source.name.lower().endswith(".tar") else "r:gz") as archive:
            members = list(itertools.islice(archive, _MEMBERS_LOOKED_AT))
            samples = _samples(member.name for member in members if member.isreg())
            if any("cls" in endings for endings in samples.values()):
                return True
            with_image = {key + ".json" for key, endings in samples.items() if _image_endings(endings)}
            described = next((member for member in members if member.name in with_image), None)
            if described is None or described.size > _MAX_JSON_BYTES:
                return False
            content = archive.extractfile(described)
            return content is not None and json_label(content.read()) is not None
    except TAR_ERRORS as error:
        raise incomplete_tar(source, error) from None


def open_shards(sources: Sequence[Path]) -> tuple[Listing, ShardImages]:
    """Reads the classes of the images of shards, whose names, or whose folders', begin with their split.

    Raises:
        DataError: a shard is damaged or given twice, an image has no class, or a class is not in `classes.txt`.
    """
    shards = sorted(sources)
    for shard, after in itertools.pairwise(sorted(shard.resolve() for shard in shards)):
        if shard == after:
            raise DataError(f"{shard}: is given twice; give each shard once")
    classes = classes_beside(shards)
    images = ShardImages(shards)
    try:
        entries = images.entries(classes)
        listing = list_entries(shards[0], entries, "WebDataset shards", classes)
        return replace(listing, unused={**listing.unused, **images.unused}, notes=images.notes), images
    except BaseException:
        images.close()
        raise


class ShardImages:
    """The images of shards, called `NUMBER-SHARD/MEMBER`.

    Args:
        shards: tar files.

    Attributes:
        unused: kind -> how many members are neither images nor their classes.
        notes: on how the shards were read.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = shards
        self._tars: list[TarArchive] = []
        self._members: list[dict[str, str]] = []  # of each shard: path -> its name in the tar file
        self.unused: Counter[str] = Counter()
        try:
            for shard in shards:
                self._tars.append(TarArchive(shard))
                found = list_tar(shard, self._tars[-1])
                self._members.append(found.files)
                self.unused += found.ignored
        except BaseException:
            self.close()
            raise
        self.notes = tuple(note for tar in self._tars for note in tar.notes)

    def entries(self, classes: Sequence[str] | None) -> list[Entry]:
        """Reads the class of every image.

        Args:
            classes: their names in index order; None: the shards name them.

        Raises:
            ProblemsError: samples are not an image and its class.
            DataError: some classes are numbers and some are names.
        """
        found: list[Entry] = []
        problems: list[str] = []
        for index, shard in enumerate(self._shards):
            split = split_of_name(shard.name) or split_of_folder(shard)
            for key, endings in _samples(self._members[index]).items():
                images = _image_endings(endings)
                used = {*images, "cls" if "cls" in endings or not images else "json"}
                self.unused.update(_kind(ending) for ending in endings if ending not in used)
                try:
                    label = self._label(index, key, endings, images)
                except DataError as error:
                    problems.append(str(error))
                    continue
                if label is not None:
                    found.append(Entry(f"{index:05d}-{shard.name}/{key}.{images[0]}", label, split))
        if problems:
            summary = f"{len(problems)} samples of shards are not an image and its class"
            raise ProblemsError(problems, summary, "write their shards again")
        return named(found, classes, self.locate)

    def _label(self, index: int, key: str, endings: Sequence[str], images: Sequence[str]) -> str | None:
        """Returns the class of a sample as its shard has it; None for a sample that is no image."""
        where = f"{self._shards[index]}:{key}"
        if not images:
            if "cls" in endings:
                raise DataError(f"{where}.cls: has no image beside it, such as {key.rpartition('/')[2]}.jpg")
            return None
        if len(images) > 1:
            raise DataError(f"{where}: has {len(images)} images ({', '.join(images)}); keep one")
        if "cls" in endings:
            return cls_label(self._read(index, f"{key}.cls"), f"{where}.cls")
        if "json" not in endings:
            name = key.rpartition("/")[2]
            raise DataError(f"{where}.{images[0]}: has no class; expected {name}.cls, or {name}.json with a label")
        label = json_label(self._read(index, f"{key}.json"))
        if label is None:
            raise DataError(f'{where}.json: holds no label; expected a key such as "label" with a number or a text')
        return label

    def _read(self, index: int, member: str) -> bytes:
        name = self._members[index][member]
        try:
            return self._tars[index].read(name)
        except OSError as error:
            raise DataError(f"{self._shards[index]}: cannot be read: {error.strerror or error}") from None

    def read(self, path: str) -> bytes:
        """Reads the bytes of an image.

        Raises:
            DataError: the shard cannot be read, or was cut since it was opened.
        """
        return self._read(*self._place(path))

    def locate(self, path: str) -> str:
        """Names an image for messages: `x-000.tar:key.jpg`."""
        index, member = self._place(path)
        return f"{self._shards[index]}:{member}"

    def _place(self, path: str) -> tuple[int, str]:
        index = int(path.partition("-")[0])
        return index, path[len(f"{index:05d}-{self._shards[index].name}/") :]

    def digests(self) -> list[dict[str, Any]]:
        """Returns the name and SHA-256 of each shard."""
        found = []
        for shard in self._shards:
            with shard.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append({"name": shard.name, "kind": "shard", "sha256": digest})
        return found

    def close(self) -> None:
        """Closes the shards."""
        for tar in self._tars:
            tar.close()


def _samples(names: Iterable[str]) -> dict[str, list[str]]:
    """Groups members by key, which ends at the first dot of the file's name; the rest is the ending."""
    samples: dict[str, list[str]] = {}
    for name in names:
        folder, slash, file = name.rpartition("/")
        key, _, ending = file.partition(".")
        samples.setdefault(folder + slash + key, []).append(ending)
    return samples


def _image_endings(endings: Iterable[str]) -> list[str]:
    return [ending for ending in endings if f".{ending.lower()}" in IMAGE_ENDINGS]


def _kind(ending: str) -> str:
    return f".{ending.lower()}" if ending else "file without ending"
