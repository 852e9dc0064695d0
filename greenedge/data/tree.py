"""Reads folders, zip and tar files in place, as one tree of relative paths."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.data.decode import is_image_name
from greenedge.data.roots import OTHER_VAL_NAMES, find_root
from greenedge.data.tars import TarArchive, is_tar, list_tar
from greenedge.data.walk import Found, check_size, list_zip, read_regular_file, walk_folder
from greenedge.errors import DataError

# Errors that zipfile raises on damaged zip files.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, MemoryError)

# A zip member above this size that grows by this ratio was made to fill the memory; no photo does.
_BOMB_BYTES, _BOMB_RATIO = 1 << 24, 200

# Other methods, like bzip2, cannot be unpacked in bounded memory.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class _Member:
    source: int
    name: str


class SourceTree:
    """The union of several sources, each a folder, zip or tar file, without the folders above `train/`.

    Args:
        sources: folders or zip files that hold `train/` or `val/`, at their top or below one common folder. Other
            common names of these, like `valid` or `Train`, are accepted.

    Attributes:
        paths: every file, as a `/`-separated path that starts with `train/`, `val/` or a file's name, sorted.
        folders: every folder of `train/` and `val/`, likewise.
        val_names: the names of the folders whose images are for validation.
        ignored: kind -> how many files are ignored: those outside `train/` and `val/`, and system files.
        notes: what is odd about the sources, a sentence each.

    Raises:
        DataError: a source is missing, is neither a folder nor a complete zip file, holds no `train` or `val`, or
            repeats an image of another source.
    """

    def __init__(self, sources: Sequence[Path]) -> None:
        if not sources:
            raise DataError("no source was given; name a folder or zip files that hold train/ and val/")
        self.sources = tuple(sources)
        self._zips: dict[int, zipfile.ZipFile] = {}
        self._tars: dict[int, TarArchive] = {}
        self._members: dict[str, _Member] = {}
        self.folders: set[str] = set()
        self.ignored: Counter[str] = Counter()
        self.val_names: set[str] = set()
        self._unsplit: list[bool] = []
        try:
            for index, source in enumerate(self.sources):
                self._add(index, source)
        except BaseException:
            self.close()
            raise
        self.paths = sorted(self._members)
        self.notes = tuple(note for tar in self._tars.values() for note in tar.notes)

    def __enter__(self) -> SourceTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, path: str) -> bool:
        return path in self._members

    @property
    def is_unsplit(self) -> bool:
        """Whether the sources hold class folders without splits."""
        return any(self._unsplit)

    def close(self) -> None:
        """Closes the archives."""
        for archive in self._zips.values():
            archive.close()
        for tar in self._tars.values():
            tar.close()

    def read(self, path: str) -> bytes:
        """Reads the bytes of a file. Safe to call from several threads.

        Raises:
            DataError: the file has vanished, is too large or not a regular file, or its zip is damaged there.
        """
        member = self._members[path]
        try:
            if member.source in self._zips:
                return self._read_zipped(self._zips[member.source], member.name, path)
            if member.source in self._tars:
                return self._tars[member.source].read(member.name)
            return read_regular_file(self.sources[member.source] / member.name)
        except _ZIP_ERRORS as error:
            raise DataError(f"{self.locate(path)}: is damaged inside the zip ({error}); download it again") from None
        except OSError as error:
            raise DataError(f"{self.locate(path)}: cannot be read: {error.strerror or error}") from None

    def read_lines(self, path: str) -> list[str]:
        """Reads the lines of a UTF-8 text file, with line ends of any system.

        Raises:
            DataError: as for `read`, or the file is not UTF-8 text.
        """
        try:
            text = self.read(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError(f"{self.locate(path)}: is not UTF-8 text") from None
        return io.StringIO(text, newline=None).read().split("\n")

    def locate(self, path: str) -> str:
        """Names a file for messages: `folder/train/a.png`, or `x.zip:train/a.png`."""
        member = self._members[path]
        source = self.sources[member.source]
        return f"{source}:{member.name}" if member.source in {**self._zips, **self._tars} else str(source / member.name)

    def digests(self) -> list[dict[str, str | int]]:
        """Returns the name and SHA-256 of each source: of a zip's bytes, of a folder's list of paths and sizes."""
        return [self._digest(index, source) for index, source in enumerate(self.sources)]

    def _read_zipped(self, archive: zipfile.ZipFile, name: str, path: str) -> bytes:
        info = archive.getinfo(name)
        if info.flag_bits & _ENCRYPTED:
            raise DataError(f"{self.locate(path)}: is encrypted; unpack the zip file and name the folder")
        if info.compress_type not in _COMPRESSIONS:
            method = info.compress_type
            raise DataError(
                f"{self.locate(path)}: is compressed by method {method}, not deflated; unpack the zip file first"
            )
        check_size(self.locate(path), info.file_size)
        if info.file_size > max(_BOMB_BYTES, _BOMB_RATIO * info.compress_size):
            ratio = info.file_size // max(1, info.compress_size)
            raise DataError(f"{self.locate(path)}: grows {ratio}-fold when unpacked, unlike an image")
        with archive.open(info) as file:
            # The size is bounded, and one byte more makes zipfile compare the checksum.
            content = file.read(info.file_size + 1)
        if len(content) != info.file_size:
            raise zipfile.BadZipFile(f"{len(content)} of {info.file_size} bytes")
        return content

    def _digest(self, index: int, source: Path) -> dict[str, str | int]:
        if index in self._zips or index in self._tars:
            kind = "zip" if index in self._zips else "tar"
            with source.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"name": _text(source.name), "kind": kind, "sha256": digest}
        names = sorted(m.name for m in self._members.values() if m.source == index)
        lines = "".join(f"{name}\t{_size(source / name)}\n" for name in names)
        digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
        return {"name": _text(source.name), "kind": "folder", "files": len(names), "sha256_of_listing": digest}

    def _add(self, index: int, source: Path) -> None:
        found = self._list(index, source)
        root = find_root(source, found)
        self._unsplit.append(root.is_unsplit)
        if self.is_unsplit and not all(self._unsplit):
            raise DataError(f"{source}: one source has class folders in splits, another has none; prepare them apart")
        self.val_names |= {name for name, place in root.splits.items() if place == "val"}
        others = sorted(name for name in self.val_names if name.lower() in OTHER_VAL_NAMES)
        if others and len(self.val_names) > 1:
            raise DataError(
                f"{source}: the sources hold {others[0]}/ and another validation split; remove or rename {others[0]}/"
            )
        cut = len(root.prefix)
        self.ignored += found.ignored

        for folder in found.folders:
            first, slash, rest = folder[cut:].partition("/")
            if folder.startswith(root.prefix) and first in root.splits:
                self.folders.add(root.splits[first] + slash + rest)

        for name, original in found.files.items():
            first, slash, rest = name[cut:].partition("/")
            if not name.startswith(root.prefix) or (slash and first not in root.splits):
                self.ignored[f"{name.split('/')[0] if not name.startswith(root.prefix) else first}/"] += 1
                continue
            path = root.splits[first] + slash + rest if slash else first
            if path not in self._members:
                self._members[path] = _Member(index, original)
            elif slash and is_image_name(path):
                raise DataError(f"{source}: {path} is also in {self.locate(path)}; give each image once")
            # Small text files are repeated in every part of a split archive.

    def _list(self, index: int, source: Path) -> Found:
        if source.is_dir():
            return walk_folder(source)
        if not source.exists():
            raise DataError(f"{source}: no such file or folder")
        if not source.is_file():
            raise DataError(f"{source}: is neither a folder nor a file")
        if is_tar(source):
            tar = self._tars[index] = TarArchive(source)
            return list_tar(source, tar)
        try:
            archive = self._zips[index] = zipfile.ZipFile(source)
        except (*_ZIP_ERRORS, OSError) as error:
            raise DataError(
                f"{source}: is not a complete zip file ({error}); it may be truncated, so download it again"
            ) from None
        return list_zip(source, archive)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a broken link, which is reported when it is read
        return 0


def _text(name: str) -> str:
    """Returns a file's name as text, with bytes that are not UTF-8 escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
