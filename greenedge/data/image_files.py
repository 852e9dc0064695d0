"""Finds image files by what people name: files, folders, patterns, and a list on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from greenedge.data.decode import is_image_name
from greenedge.data.walk import is_junk
from greenedge.errors import DataError

STANDARD_INPUT = "-"

_LARGEST_BYTES = 1_000_000_000  # of a file


@dataclass(frozen=True)
class FailedImage:
    """An image that cannot be used, or a name that stands for none.

    Attributes:
        image: the file, or what was named.
        error: why, in a sentence that names it.
    """

    image: Path
    error: str


def find_images(sources: Sequence[str], listed: BinaryIO | None = None) -> Iterator[Path | FailedImage]:
    """Finds the image files that names stand for, one after the other, without opening any.

    A folder stands for all files below it whose names end like an image's, in the order of their names; hidden and
    system files are passed over. A pattern (`*`, `?`, `[...]`, `**` for any folders) stands for what it matches. A name
    that exists is no pattern, and a file that is named itself is taken whatever its ending. What cannot be used is
    given in its place. No more names are held than those of one folder, or of one pattern.

    Args:
        sources: files, folders and patterns; `-` for the files and folders of `listed`.
        listed: one name per line; empty lines count for nothing.
    """
    for source in sources:
        if source == STANDARD_INPUT and listed is not None:
            for line in listed:
                name = os.fsdecode(line.rstrip(b"\r\n"))
                if name:
                    yield from _of_path(Path(name))
        elif glob.has_magic(source) and not os.path.lexists(source):
            yield from _of_pattern(source)
        else:
            yield from _of_path(Path(source))


def read_image_file(path: Path) -> bytes:
    """Reads an image file.

    Raises:
        DataError: it is missing, no file, or larger than any image.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such image")
        if path.stat().st_size > _LARGEST_BYTES:
            raise DataError(f"{path}: is larger than {_LARGEST_BYTES // 10**6} MB, which no image is")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a null character is no name
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _of_pattern(pattern: str) -> Iterator[Path | FailedImage]:
    matches = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207  # which takes no absolute pattern
    folders = {match.rstrip("/") for match in matches if Path(match).is_dir()}
    if not matches:
        yield FailedImage(Path(pattern), f"{pattern}: no file matches")
    for match in matches:
        if match.rstrip("/") not in folders:
            # `**` matches all that lies in a folder, whatever it is.
            if "**" not in pattern or is_image_name(match):
                yield Path(match)
        elif "**" not in pattern:  # else its files are matches themselves
            yield from _of_path(Path(match))


def _of_path(path: Path) -> Iterator[Path | FailedImage]:
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):  # reading it says what is wrong with it
        is_folder = False
    if not is_folder:
        yield path
        return
    empty = True
    for found in _below(path, ()):
        empty = False
        yield found
    if empty:
        yield FailedImage(path, f"{path}: holds no images")


def _below(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path | FailedImage]:
    """The images of a folder whose parents are `above`; links are followed, but not in circles."""
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            names = sorted((entry.name, entry.is_dir()) for entry in entries if not is_junk(entry.name))
    except OSError as error:
        yield FailedImage(folder, f"{folder}: cannot be read: {error.strerror or error}")
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for name, is_folder in names:
        if is_folder:
            yield from _below(folder / name, (*above, identity))
        elif is_image_name(name):
            yield folder / name
