"""A folder that goes from one whole export to the next, whatever happens on the way.

All is written beside it first; then the two folders change places, on Linux in one step. What a killed command left is
found by its name and its lock, which died with it, and is removed by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from greenedge.files import remove_abandoned_folders, try_lock, umask

PARTIAL = ".partial-"  # begins the names of what is being written; a folder that it lies in may be filled
_FORMER = ".former-"
_CURRENT_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)


@contextmanager
def refilled(out: Path, is_own: Callable[[str], bool], first: str) -> Iterator[Path]:
    """A folder whose files take the place of a former export's in `out`, when the block ends well.

    Args:
        out: absent, or a folder.
        is_own: whether a file of that name is an export's, and to be replaced; all others stay.
        first: the file that says what the folder is.

    Raises:
        OSError: something cannot be written; `out` is as it was, but see `_fill`.
    """
    target = out.resolve()
    made = [folder for folder in (target, *target.parents) if not folder.exists()]  # innermost first
    try:
        _make(target.parent)
        _recover(target)
        swaps = not target.exists() or _can_be_swapped(target)
        with _partial(target.parent if swaps else target, _mark(target)) as partial:
            yield partial
            if swaps:
                _swap(partial, target, is_own)
            else:
                _fill(partial, target, is_own, first)
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # somebody else may have put something there
                folder.rmdir()
        raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def _mark(target: Path) -> str:
    """What the names of a folder's companions have in common; short, whatever its own name."""
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12] + "-"


def _recover(target: Path) -> None:
    """Removes what killed commands left, and puts back a former export that was left aside."""
    for former in sorted(target.parent.glob(f"{_FORMER}{_mark(target)}*")):
        if target.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            former.rename(target)
    left = [*target.parent.glob(f"{PARTIAL}{_mark(target)}*"), *target.glob(f"{PARTIAL}*")]
    remove_abandoned_folders(left)


def _can_be_swapped(target: Path) -> bool:
    """Not a mounted disk, nor a folder that its owner stands in, nor one in a place that cannot be written."""
    try:
        stands_in_it = Path.cwd().is_relative_to(target)
    except OSError:
        stands_in_it = False
    return not stands_in_it and not target.is_mount() and os.access(target.parent, os.W_OK | os.X_OK)


@contextmanager
def _partial(parent: Path, mark: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{mark}", dir=parent))
    handle = os.open(folder, os.O_RDONLY)
    try:
        try_lock(handle)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _swap(partial: Path, target: Path, is_own: Callable[[str], bool]) -> None:
    """Lets the new folder take the place of the old one, which is left under the new one's former name."""
    if not target.exists():
        partial.chmod(0o777 & ~umask())
        partial.rename(target)
        return
    for entry in target.iterdir():
        if not is_own(entry.name) and not entry.name.startswith(PARTIAL):
            _carry(entry, partial / entry.name)
    partial.chmod(target.stat().st_mode & 0o7777)
    if _exchange(partial, target):
        return

    aside = partial.with_name(partial.name.replace(PARTIAL, _FORMER, 1))
    target.rename(aside)
    try:
        partial.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _fill(partial: Path, target: Path, is_own: Callable[[str], bool], first: str) -> None:
    """Moves the files in one by one, where the folder itself cannot be moved.

    If this is cut short, the folder holds files of two exports, which the digests in the manifest give away; since the
    manifest comes first, the same command may fill the folder again.
    """
    names = sorted((path.name for path in partial.iterdir()), key=lambda name: name != first)
    for name in names:
        (partial / name).replace(target / name)
    for entry in list(target.iterdir()):
        if is_own(entry.name) and entry.name not in names:
            entry.unlink()


def _carry(entry: Path, place: Path) -> None:
    """The same file, or folder of files, at a second place; copied where the disk knows no links."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.copytree(entry, place, symlinks=True, copy_function=_link)
    else:
        _link(str(entry), str(place))


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, place, follow_symlinks=False)


def _exchange(one: Path, other: Path) -> bool:
    """Two folders change places in one step; False where the system cannot do that."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
    if libc is None or not hasattr(libc, "renameat2"):
        return False
    places = os.fsencode(one), os.fsencode(other)
    done: int = libc.renameat2(_CURRENT_FOLDER, places[0], _CURRENT_FOLDER, places[1], _EXCHANGE)
    return done == 0
