"""Turns what a user gives as sources into the files and folders that are meant."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from greenedge.data.decode import is_image_name
from greenedge.data.shard_classes import CLASSES_FILE
from greenedge.data.shards import is_shard
from greenedge.data.tars import TAR_ENDINGS
from greenedge.data.walk import is_folder, is_junk, walk_folder
from greenedge.errors import DataError

_ARCHIVE_ENDINGS = (".zip", *TAR_ENDINGS)
# Files that hold images in other ways; a folder with some of them is not one of archives.
_OTHER_ENDINGS = (".parquet", ".csv", ".tsv", ".pkl")
_BRACES = re.compile(r"\{(?:(\d{1,18})\.\.(\d{1,18})|([^{}]*,[^{}]*))\}")
_MOST_FILES = 100_000  # that one pattern may name


def expand_sources(sources: Sequence[Path]) -> tuple[list[Path], Counter[str]]:
    """Replaces patterns such as `train-{0..3}.tar` by their files, and folders of archives by these.

    Returns:
        The sources, and the kinds of the other files of such folders with their number.

    Raises:
        DataError: a pattern names a file that is missing, or a folder holds shards beside images.
    """
    found: list[Path] = []
    unused: Counter[str] = Counter()
    for source in sources:
        if "{" in str(source) and not source.exists():
            found += _files_of_pattern(source)
        elif source.is_dir():
            found += _archives_of(source, unused) or [source]
        else:
            found.append(source)
    return found, unused


def _files_of_pattern(pattern: Path) -> list[Path]:
    files = [Path(text) for text in itertools.islice(_expanded(str(pattern)), _MOST_FILES + 1)]
    if len(files) > _MOST_FILES:
        raise DataError(f"{pattern}: names more than {_MOST_FILES} files; give fewer, or their folder")
    missing = [file for file in files if not file.exists()]
    if missing and files != [pattern]:  # a name without braces that can be expanded is one file
        raise DataError(
            f"{pattern}: {len(missing)} of the {len(files)} files that it names are missing, the first is {missing[0]}"
        )
    return files


def _expanded(text: str) -> itertools.chain[str] | tuple[str]:
    """Expands braces as a shell does: `{08..11}` keeps its zeros, `{a,b}` is a choice."""
    match = _BRACES.search(text)
    if match is None:
        return (text,)
    first, last, choice = match.groups()
    if choice is None:
        step = 1 if int(first) <= int(last) else -1
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        values = (f"{number:0{width}d}" for number in range(int(first), int(last) + step, step))
    else:
        values = (value for value in choice.split(","))
    return itertools.chain.from_iterable(
        _expanded(text[: match.start()] + value + text[match.end() :]) for value in values
    )


def _archives_of(folder: Path, unused: Counter[str]) -> list[Path]:
    """Returns the archives of a folder that holds no data set but in them, at its top or in a folder below."""
    archives = sorted([*_archives_at(folder), *(path for below in _folders_at(folder) for path in _archives_at(below))])
    if not archives:
        return []
    found, known = walk_folder(folder), set(archives)
    others = [name for name in sorted(found.files) if folder / found.files[name] not in known]
    data = next((name for name in others if is_image_name(name) or name.lower().endswith(_OTHER_ENDINGS)), None)
    if data is None:
        unused += found.ignored
        for name in others:
            if name.rpartition("/")[2] != CLASSES_FILE:
                unused[PurePosixPath(name).suffix.lower() or "file without ending"] += 1
        return archives
    if is_shard(archives[0]):
        raise DataError(
            f"{folder}: holds both WebDataset shards ({archives[0].relative_to(folder)}) and other data ({data}); "
            "prepare them separately: name the shards, or move them out of this folder"
        )
    return []


def _archives_at(folder: Path) -> list[Path]:
    names = [entry.name for entry in _entries(folder) if entry.name.lower().endswith(_ARCHIVE_ENDINGS)]
    return [folder / name for name in names if not is_junk(name) and (folder / name).is_file()]


def _folders_at(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in _entries(folder) if is_folder(entry) and not is_junk(entry.name)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from None
