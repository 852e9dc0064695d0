"""Creates folders that are complete or absent, and says which may be replaced."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from greenedge.errors import DataError, UsageError
from greenedge.files import remove_abandoned_folders, try_lock


def check_replaceable(out: Path, kind: str, is_former: Callable[[Path], bool], leftover: str | None = None) -> None:
    """Refuses a place that a folder of some kind may not take: a file, or a folder of something else.

    Args:
        out: the place; there may be nothing yet.
        kind: what is to be written there, such as `cascade`.
        is_former: whether a folder holds one already, which may be replaced.
        leftover: how names begin that killed processes leave behind, and that do not count; None: all do.

    Raises:
        UsageError: it is one.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out}: exists already and is no folder; choose another --out, or remove it first")
    names = [path.name for path in out.iterdir()]
    if any(leftover is None or not name.startswith(leftover) for name in names) and not is_former(out):
        raise UsageError(f"{out}: holds files that are no {kind}; choose another --out, or empty it first")


class new_folder:  # noqa: N801  # reads as a function: `with new_folder(out) as partial`
    """Fills a folder under a temporary name and renames it to `out` when the block ends without an error.

    Folders that killed processes left behind under such a name are removed; those of live ones are locked.

    Raises:
        DataError: the folder cannot be created or written; nothing is left behind.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._prefix = f".{out.name}.partial-"
        self._lock = -1

    def __enter__(self) -> Path:
        self.made = [parent for parent in self.out.parents if not parent.exists()]  # innermost first
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned_folders(
                folder for folder in self.out.parent.iterdir() if folder.name.startswith(self._prefix)
            )
            self.partial, self._lock = self._make()
            self.partial.chmod(0o755)
        except OSError as error:
            raise DataError(f"{self.out}: cannot be created: {error.strerror or error}") from None
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                self.partial.rename(self.out)
        except OSError as failure:
            error = failure
        if error is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            for parent in self.made:
                # Another process may have put something there.
                with contextlib.suppress(OSError):
                    parent.rmdir()
        os.close(self._lock)
        if isinstance(error, OSError):
            raise DataError(f"{self.out}: cannot be written: {error.strerror or error}; nothing was kept") from None

    def _make(self) -> tuple[Path, int]:
        while True:
            partial = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self.out.parent))
            lock = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
            try_lock(lock)
            # Another process may have removed it as abandoned before it was locked.
            if partial.exists():
                return partial, lock
            os.close(lock)
