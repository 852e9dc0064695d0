"""Reads tar files in place, plain or compressed, without unpacking any member by its name."""

from __future__ import annotations

import gzip
import os
import tarfile
import tempfile
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from greenedge.data.walk import Found, add_member, check_size
from greenedge.errors import DataError

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
TAR_ERRORS = (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, OSError)
# Images hardly shrink: a compressed archive that grows by more was made to fill the disk.
_BOMB_BYTES, _BOMB_RATIO = 1 << 28, 20
_BLOCK = 1 << 20


def is_tar(source: Path) -> bool:
    """Tells by its name whether a file is a tar file."""
    return source.name.lower().endswith(TAR_ENDINGS) and not source.is_dir()


class TarArchive:
    """The regular files of a tar file, read at their offsets.

    A compressed one is first unpacked, as one tar, into a temporary file without a name. A plain one is opened for each
    read, since a data set may have more shards than a process may have files open.

    Args:
        source: the tar file.

    Attributes:
        names: of its files and folders in order; folders end with `/`.
        notes: what is odd about the file, a sentence each.

    Raises:
        DataError: it is truncated, holds a link or device, or grows without measure.
    """

    def __init__(self, source: Path) -> None:
        self._source = source
        self._places: dict[str, tuple[int, int]] = {}
        self._unpacked: IO[bytes] | None = None
        self.names: list[str] = []
        self.notes: tuple[str, ...] = ()
        try:
            if not source.name.lower().endswith(".tar"):
                self._unpacked = _decompressed(source)
            with nullcontext(self._unpacked) if self._unpacked else source.open("rb") as file:
                self._list(file)
        except OSError as error:
            self.close()
            raise DataError(f"{source}: cannot be read: {error.strerror or error}") from None
        except BaseException:
            self.close()
            raise

    def _list(self, file: IO[bytes]) -> None:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                end = 0
                for info in archive:
                    self._add(info)
                    size = info.size if info.isreg() else 0
                    end = info.offset_data + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        except TAR_ERRORS as error:
            raise incomplete_tar(self._source, error) from None
        # tarfile takes a damaged or cut header for the end. The true end is zeros, which some writers leave out.
        rest = os.pread(file.fileno(), tarfile.BLOCKSIZE, end)
        if any(rest) or os.fstat(file.fileno()).st_size < end:
            raise DataError(f"{self._source}: is damaged or truncated after {end} bytes; download it again")
        if not rest:
            self.notes = (
                f"{self._source}: has no end mark, so members after its last may be missing; its {len(self._places)} "
                "files are whole",
            )

    def _add(self, info: tarfile.TarInfo) -> None:
        if info.isdir():
            self.names.append(info.name.rstrip("/") + "/")
            return
        if not info.isreg() or info.issparse():
            kind = "link" if info.issym() or info.islnk() else "device or other special file"
            raise DataError(f"{self._source}: its member {info.name!r} is a {kind}; make the tar file of files alone")
        self.names.append(info.name)
        self._places[info.name] = (info.offset_data, info.size)

    def read(self, name: str) -> bytes:
        """Reads the bytes of a file. Safe to call from several threads.

        Raises:
            DataError: it is too large, or the tar file was cut since it was opened.
            OSError: the tar file cannot be read.
        """
        offset, size = self._places[name]
        check_size(f"{self._source}:{name}", size)
        with nullcontext(self._unpacked) if self._unpacked else self._source.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), size, offset)
        if len(content) != size:
            raise DataError(f"{self._source}:{name}: is truncated; download the archive again")
        return content

    def close(self) -> None:
        """Closes the temporary file of a compressed one."""
        if self._unpacked:
            self._unpacked.close()


def incomplete_tar(source: Path, error: Exception) -> DataError:
    """Returns the error of a tar file that cannot be listed."""
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{source}: cannot be read: {error.strerror}")
    return DataError(f"{source}: is not a complete tar file ({error}); it may be truncated, so download it again")


def list_tar(source: Path, archive: TarArchive) -> Found:
    """Lists a tar file.

    Raises:
        DataError: a name lies outside the archive, or occurs twice.
    """
    found = Found()
    for name in archive.names:
        add_member(found, source, name)
    return found


def _decompressed(source: Path) -> IO[bytes]:
    """Unpacks gzip into a temporary file."""
    left = max(_BOMB_BYTES, _BOMB_RATIO * source.stat().st_size)
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # it is handed on
    try:
        with gzip.open(source) as stream:
            while block := stream.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise DataError(f"{source}: grows more than {_BOMB_RATIO}-fold when unpacked, unlike images")
                unpacked.write(block)
        unpacked.flush()
        unpacked.seek(0)
    except (zlib.error, EOFError, OSError) as error:
        unpacked.close()
        raise DataError(f"{source}: cannot be unpacked ({error}); it may be truncated, or the disk full") from None
    except BaseException:
        unpacked.close()
        raise
    return unpacked
