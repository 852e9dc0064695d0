"""Lists the names in a folder or a zip file, without opening any file."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from greenedge.errors import DataError

# Files and folders of systems, drives and tools, in lower case.
_JUNK = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "lost+found"),
        *("$recycle.bin", "recycler", "system volume information", "icon\r", "__pycache__"),
    )
)
# The bytes of the largest image that is decoded.
MAX_FILE_BYTES = 1 << 28
# Levels of folders.
_MAX_DEPTH = 40

JUNK_KIND = "hidden or system file"
SPECIAL_KIND = "special file"  # a pipe, socket or device
LOOP_KIND = "endless link"


@dataclass
class Found:
    """The content of a source.

    Attributes:
        files: path -> its name in the source. Paths are `/`-separated, in Unicode's composed form.
        folders: paths of all folders.
        ignored: kind -> how many files were ignored.
    """

    files: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, source: Path, name: str, path: str) -> None:
        """Adds a file.

        Raises:
            DataError: another file has the same path.
        """
        path = unicodedata.normalize("NFC", path)
        other = self.files.setdefault(path, name)
        if other != name:
            raise DataError(
                f"{source}: {other!a} and {name!a} are the same name in two Unicode forms; rename one of them"
            )


def walk_folder(source: Path) -> Found:
    """Lists a folder. Links are followed; pipes, sockets and devices are ignored.

    Raises:
        DataError: a folder cannot be read, or two names look the same.
    """
    found = Found()
    _walk(found, source, "", ())
    return found


def _walk(found: Found, source: Path, below: str, above: tuple[tuple[int, int], ...]) -> None:
    """Adds the content of the folder `below` (empty, or ending with `/`), whose parents are `above`."""
    here = source / below
    try:
        status = here.stat()
        entries = sorted(os.scandir(here), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{here}: cannot be read: {error.strerror or error}") from None

    identity = (status.st_dev, status.st_ino)
    if identity in above or len(above) >= _MAX_DEPTH:
        found.ignored[LOOP_KIND] += 1
        return
    if below:
        found.folders.add(unicodedata.normalize("NFC", below[:-1]))

    for entry in entries:
        name = below + entry.name
        if is_junk(entry.name):
            found.ignored[JUNK_KIND] += 1
        elif is_folder(entry):
            _walk(found, source, f"{name}/", (*above, identity))
        elif _is_special(entry):
            found.ignored[SPECIAL_KIND] += 1
        else:
            found.add(source, name, name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tells whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Tells whether an entry exists and is not a file; a broken link is reported when it is read."""
    try:
        return not entry.is_file() and Path(entry.path).exists()
    except OSError:
        return False


def list_zip(source: Path, archive: zipfile.ZipFile) -> Found:
    """Lists a zip file.

    Raises:
        DataError: a name lies outside the archive, or occurs twice.
    """
    found = Found()
    for info in archive.infolist():
        add_member(found, source, info.filename)
    return found


def add_member(found: Found, source: Path, name: str) -> None:
    """Adds a member of an archive by its name; folders end with `/`.

    Raises:
        DataError: the name lies outside the archive, or occurs twice.
    """
    parts = _parts(source, name)
    if any(is_junk(part) for part in parts):
        found.ignored[JUNK_KIND] += 1
        return
    is_folder = name.endswith(("/", "\\"))
    for depth in range(1, len(parts) + is_folder):
        found.folders.add(unicodedata.normalize("NFC", "/".join(parts[:depth])))
    if parts and not is_folder:
        path = "/".join(parts)
        if unicodedata.normalize("NFC", path) in found.files:
            raise DataError(f"{source}: holds {path} twice; make the archive again")
        found.add(source, name, path)


def _parts(source: Path, name: str) -> list[str]:
    """Splits a zip member's name, as any system writes it, into its folders and file."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or re.match("[A-Za-z]:/", plain) or ".." in parts:
        raise DataError(f"{source}: its member {name!r} lies outside the archive; make the archive again")
    return parts


def read_regular_file(path: Path) -> bytes:
    """Reads a file of at most `MAX_FILE_BYTES`.

    Raises:
        DataError: it is missing, larger or not a regular file.
    """
    try:
        # A file may have become a pipe since it was listed, which must not be waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{path}: is not a regular file")
            check_size(str(path), status.st_size)
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_size(name: str, size: int) -> None:
    """Refuses a file, called `name` in the message, of more than `MAX_FILE_BYTES`."""
    if size > MAX_FILE_BYTES:
        raise DataError(f"{name}: is {size / 1e6:.0f} MB, more than the limit of {MAX_FILE_BYTES / 1e6:.0f} MB")


def is_junk(name: str) -> bool:
    """Tells by its name whether a file or folder is hidden or a system's, and so not data."""
    return name.startswith(".") or name.lower() in _JUNK
