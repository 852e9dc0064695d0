"""A folder that is whole or absent."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from greenedge.errors import DataError
from greenedge.files import remove_abandoned_folders, try_lock


class new_folder:  # noqa: N801  # reads as a function: `with new_folder(out) as partial`
    """A folder that is filled under a temporary name and renamed to `out` when the block ends well.

    What a killed process left behind under such a name is removed: the folder of a live one is locked.

    Raises:
        DataError: the folder cannot be made or written; nothing stays behind.
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
            raise DataError(f"{self.out}: cannot be made: {error.strerror or error}") from None
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
                with contextlib.suppress(OSError):  # somebody else may have put something there
                    parent.rmdir()
        os.close(self._lock)
        if isinstance(error, OSError):
            raise DataError(f"{self.out}: cannot be written: {error.strerror or error}; nothing was kept") from None

    def _make(self) -> tuple[Path, int]:
        while True:
            partial = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self.out.parent))
            lock = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
            try_lock(lock)
            if partial.exists():  # else another process found it before it was locked
                return partial, lock
            os.close(lock)
