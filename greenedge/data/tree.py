"""Folders and zip files seen as one tree of relative paths, read in place."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from greenedge.errors import DataError

# What a damaged zip file can make zipfile raise.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)
_JUNK = {"Thumbs.db", "desktop.ini", "__MACOSX"}


@dataclass(frozen=True)
class _Member:
    source: int
    name: str


class Tree:
    """The union of several sources, each a folder or a zip file, with whatever stands above `train/` cut off.

    Args:
        sources: folders or zip files that hold `train/` or `val/`, at their top or below one common folder.

    Attributes:
        paths: every file, as a `/`-separated path that starts with `train/`, `val/` or a file's name, sorted.
        folders: every folder, likewise.

    Raises:
        DataError: a source is missing, is neither a folder nor a whole zip file, holds no `train` or `val`, or
            repeats an image of another source.
    """

    def __init__(self, sources: Sequence[Path]) -> None:
        if not sources:
            raise DataError("no source was given; name a folder or zip files that hold train/ and val/")
        self.sources = tuple(sources)
        self._zips: dict[int, zipfile.ZipFile] = {}
        self._members: dict[str, _Member] = {}
        self.folders: set[str] = set()
        try:
            for index, source in enumerate(self.sources):
                self._add(index, source)
        except BaseException:
            self.close()
            raise
        self.paths = sorted(self._members)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, path: str) -> bool:
        return path in self._members

    def close(self) -> None:
        """Closes the zip files."""
        for archive in self._zips.values():
            archive.close()

    def read(self, path: str) -> bytes:
        """The file's bytes. Safe to call from several threads.

        Raises:
            DataError: the file is gone or its zip is damaged there.
        """
        member = self._members[path]
        try:
            if member.source in self._zips:
                return self._zips[member.source].read(member.name)
            return (self.sources[member.source] / member.name).read_bytes()
        except _ZIP_ERRORS as error:
            raise DataError(f"{self.locate(path)}: damaged inside the zip ({error}); fetch it again") from None
        except OSError as error:
            raise DataError(f"{self.locate(path)}: cannot be read: {error.strerror or error}") from None

    def read_lines(self, path: str) -> list[str]:
        """The lines of a UTF-8 text file.

        Raises:
            DataError: as `read`, or not UTF-8 text.
        """
        try:
            return self.read(path).decode("utf-8").splitlines()
        except UnicodeDecodeError:
            raise DataError(f"{self.locate(path)}: is not UTF-8 text") from None

    def locate(self, path: str) -> str:
        """How a person finds the file: `folder/train/a.png`, or `x.zip:train/a.png`."""
        member = self._members[path]
        source = self.sources[member.source]
        return f"{source}:{member.name}" if member.source in self._zips else str(source / member.name)

    def digests(self) -> list[dict[str, str | int]]:
        """For each source its name and SHA-256: of a zip its bytes, of a folder its list of paths and sizes."""
        return [self._digest(index, source) for index, source in enumerate(self.sources)]

    def _digest(self, index: int, source: Path) -> dict[str, str | int]:
        if index in self._zips:
            with source.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"name": source.name, "kind": "zip", "sha256": digest}
        names = sorted(m.name for m in self._members.values() if m.source == index)
        lines = "".join(f"{name}\t{(source / name).stat().st_size}\n" for name in names)
        digest = hashlib.sha256(lines.encode()).hexdigest()
        return {"name": source.name, "kind": "folder", "files": len(names), "sha256_of_listing": digest}

    def _add(self, index: int, source: Path) -> None:
        files, folders = self._list(index, source)
        root = _root(files + folders)
        if root is None:
            raise DataError(
                f"{source}: holds no train or val folder; expected train/<class>/ and val/, as in TinyImageNet"
            )
        cut = len(root)
        self.folders.update(name[cut:] for name in folders if name.startswith(root))
        for name in files:
            if not name.startswith(root):
                continue
            path = name[cut:]
            if path in self._members:
                if path.startswith(("train/", "val/")) and not path.endswith(".txt"):
                    raise DataError(f"{source}: {path} is also in {self.locate(path)}; give each image once")
                continue  # small text files are repeated in every part of a split archive
            self._members[path] = _Member(index, name)

    def _list(self, index: int, source: Path) -> tuple[list[str], list[str]]:
        if source.is_dir():
            return _walk(source)
        if not source.exists():
            raise DataError(f"{source}: no such file or folder")
        try:
            archive = self._zips[index] = zipfile.ZipFile(source)
        except (*_ZIP_ERRORS, OSError) as error:
            raise DataError(
                f"{source}: not a whole zip file ({error}); it may be cut short, so fetch it again"
            ) from None
        names = [n for n in archive.namelist() if not _is_junk(n)]
        files = [name for name in names if not name.endswith("/")]
        folders = {str(parent) for name in files for parent in list(PurePosixPath(name).parents)[:-1]}
        return files, sorted(folders | {name.rstrip("/") for name in names if name.endswith("/")})


def _walk(source: Path) -> tuple[list[str], list[str]]:
    files: list[str] = []
    folders: list[str] = []
    for parent, names, leaves in os.walk(source):
        names[:] = sorted(name for name in names if not _is_junk(name))
        base = Path(parent).relative_to(source)
        folders += [(base / name).as_posix() for name in names]
        files += [(base / name).as_posix() for name in leaves if not _is_junk(name)]
    return files, folders


def _root(names: Iterable[str]) -> str | None:
    """The shortest prefix (`""` or `a/b/`) that stands before a `train` or `val` component."""
    roots = {
        "".join(f"{part}/" for part in parts[:depth])
        for parts in (name.split("/") for name in names)
        for depth, part in enumerate(parts)
        if part in ("train", "val")
    }
    return min(roots, key=lambda root: (root.count("/"), root), default=None)


def _is_junk(name: str) -> bool:
    parts = name.rstrip("/").split("/")
    return any(part in _JUNK or part.startswith(".") for part in parts)
