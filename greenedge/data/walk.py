"""What a folder or a zip file holds: names, without opening any file."""

from __future__ import annotations

import os
import re
import unicodedata
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from greenedge.errors import DataError

# In any case: what systems, cameras' drives and tools leave in folders.
_JUNK = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "lost+found"),
        *("$recycle.bin", "recycler", "system volume information", "icon\r", "__pycache__"),
    )
)
_DEEPEST = 40  # folders within folders

JUNK_KIND = "hidden or system file"
SPECIAL_KIND = "special file"  # a pipe, socket or device
LOOP_KIND = "endless link"


@dataclass
class Found:
    """What a source holds.

    Attributes:
        files: path -> the name that the source itself has for it. Paths are `/`-separated, in Unicode's composed form.
        folders: paths of all folders.
        ignored: kind -> how many there were that are never looked at.
    """

    files: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, source: Path, name: str, path: str) -> None:
        """Takes up a file.

        Raises:
            DataError: there is one of that path already.
        """
        path = unicodedata.normalize("NFC", path)
        other = self.files.setdefault(path, name)
        if other != name:
            raise DataError(f"{source}: {other!a} and {name!a} are one name in two spellings; rename one of them")


def walk_folder(source: Path) -> Found:
    """Lists a folder. Links are followed; pipes, sockets and devices are passed over.

    Raises:
        DataError: a folder cannot be read, or two names differ in nothing that can be seen.
    """
    found = Found()
    _walk(found, source, "", ())
    return found


def _walk(found: Found, source: Path, below: str, above: tuple[tuple[int, int], ...]) -> None:
    """Adds what lies in the folder `below` (empty, or ending with `/`), which the folders `above` lead to."""
    here = source / below
    try:
        status = here.stat()
        entries = sorted(os.scandir(here), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{here}: cannot be read: {error.strerror or error}") from None

    identity = (status.st_dev, status.st_ino)
    if identity in above or len(above) >= _DEEPEST:
        found.ignored[LOOP_KIND] += 1
        return
    if below:
        found.folders.add(unicodedata.normalize("NFC", below[:-1]))

    for entry in entries:
        name = below + entry.name
        if is_junk(entry.name):
            found.ignored[JUNK_KIND] += 1
        elif _is_folder(entry):
            _walk(found, source, f"{name}/", (*above, identity))
        elif _is_special(entry):
            found.ignored[SPECIAL_KIND] += 1
        else:
            found.add(source, name, name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether it exists and is no file; a link that leads nowhere is found out when it is read."""
    try:
        return not entry.is_file() and Path(entry.path).exists()
    except OSError:
        return False


def list_zip(source: Path, archive: zipfile.ZipFile) -> Found:
    """Lists a zip file.

    Raises:
        DataError: a name that leads out of the archive, or one that is there twice.
    """
    found = Found()
    for info in archive.infolist():
        parts = _parts(source, info.filename)
        if any(is_junk(part) for part in parts):
            found.ignored[JUNK_KIND] += 1
            continue
        is_folder = info.filename.endswith(("/", "\\"))
        for depth in range(1, len(parts) + is_folder):
            found.folders.add(unicodedata.normalize("NFC", "/".join(parts[:depth])))
        if parts and not is_folder:
            path = "/".join(parts)
            if unicodedata.normalize("NFC", path) in found.files:
                raise DataError(f"{source}: holds {path} twice; make the zip file again")
            found.add(source, info.filename, path)
    return found


def _parts(source: Path, name: str) -> list[str]:
    """The folders and the file of a zip member's name, whatever system wrote it."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or re.match("[A-Za-z]:/", plain) or ".." in parts:
        raise DataError(f"{source}: its member {name!r} lies outside the archive; make the zip file again")
    return parts


def is_junk(name: str) -> bool:
    """Whether a file or folder of that name is no one's data: hidden, or a system's leftover."""
    return name.startswith(".") or name.lower() in _JUNK
