"""Fetches TinyImageNet's official archive: resumable, checked, whole or absent."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

from greenedge.errors import DataError, printable

OFFICIAL_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
OFFICIAL_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 60
_LONGEST_NAME = 200


def download(out: Path, url: str = OFFICIAL_URL, md5: str = OFFICIAL_MD5) -> Path:
    """Downloads an archive into the folder `out`; what a broken download left there is continued.

    Args:
        out: the folder, made if needed.
        url: of the archive.
        md5: hexadecimal digest that the archive must have.

    Returns:
        The archive's path, which exists only once it is whole and checked.

    Raises:
        DataError: the server cannot be reached or breaks off, or the archive has another digest.
    """
    target = out / _file_name(url)
    if target.exists():
        if not target.is_file() or _md5(target) != md5.lower():
            raise DataError(f"{target}: exists with another MD5 than {md5}; remove it and download again")
        return target
    partial = target.with_name(target.name + ".part")
    try:
        out.mkdir(parents=True, exist_ok=True)
        _fetch(url, partial)
    except (ValueError, http.client.InvalidURL) as error:
        raise DataError(f"{printable(url)}: is not an address to download from ({error})") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        kept = partial.stat().st_size if partial.exists() else 0
        way_out = f"{kept / 1e6:.1f} MB are kept in {partial}; run it again to go on" if kept else "check the address"
        raise DataError(f"{printable(url)}: the download failed ({printable(str(reason))}); {way_out}") from None
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{partial}: cannot be written ({reason}); free some space and run it again to go on") from None
    found = _md5(partial)
    if found != md5.lower():
        partial.unlink()
        raise DataError(f"{printable(url)}: has MD5 {found}, expected {md5}; it was removed, download it again")
    partial.rename(target)
    return target


def _file_name(url: str) -> str:
    """What the archive is called here: the last part of the address, with nothing in it but plain characters.

    Raises:
        DataError: no address of a web server.
    """
    try:
        address = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise DataError(f"{printable(url)}: is not an address to download from ({error})") from None
    if address.scheme not in ("http", "https"):
        raise DataError(f"{printable(url)}: is not an address to download from, which begins with http:// or https://")
    name = re.sub(r"[^A-Za-z0-9._+%-]", "_", address.path.rstrip("/").rpartition("/")[2]).lstrip(".")
    return name[-_LONGEST_NAME:] or "archive.zip"


def _fetch(url: str, partial: Path) -> None:
    """Appends to `partial` what it lacks."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is lacking
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if resumed else 0  # a server without ranges sends everything again
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isascii() and length.isdigit() else None
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=have, desc="downloading", unit="B", unit_scale=True, disable=None) as bar,
        ):
            while block := response.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
                have += len(block)
    if total is not None and have < total:
        raise ConnectionError(f"the connection closed after {have} of {total} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
