"""Downloads TinyImageNet's official archive: resumable, verified, complete or absent."""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from greenedge.errors import DataError, printable

OFFICIAL_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
OFFICIAL_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 60
_MAX_NAME_LENGTH = 200


def download(out: Path, url: str = OFFICIAL_URL, md5: str = OFFICIAL_MD5) -> Path:
    """Downloads an archive into the folder `out`; an interrupted download is continued.

    Args:
        out: the folder, created if it is missing.
        url: of the archive.
        md5: hexadecimal digest that the archive must have.

    Returns:
        The archive's path, which exists only once the archive is complete and verified.

    Raises:
        DataError: the server cannot be reached or closes the connection, or the archive has another digest.
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
        raise DataError(f"{printable(url)}: is not a download address ({error})") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        kept = partial.stat().st_size if partial.exists() else 0
        way_out = (
            f"{kept / 1e6:.1f} MB are kept in {partial}; run it again to continue" if kept else "check the address"
        )
        raise DataError(f"{printable(url)}: the download failed ({printable(str(reason))}); {way_out}") from None
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{partial}: cannot be written ({reason}); free some space and run it again to continue"
        ) from None

    found = _md5(partial)
    if found != md5.lower():
        partial.unlink()
        raise DataError(f"{printable(url)}: has MD5 {found}, expected {md5}; it was removed, download it again")
    partial.rename(target)
    return target


def download_from_any(out: Path, urls: Sequence[str], md5: str = OFFICIAL_MD5) -> Path:
    """Downloads an archive from the first address that gives it whole; a partial file of the same name is continued.

    Raises:
        DataError: none does; the message holds the reason of each.
    """
    reasons = []
    for url in urls:
        try:
            return download(out, url, md5)
        except DataError as error:
            reasons.append(str(error))
            if url != urls[-1]:
                logging.getLogger("greenedge").warning("%s; trying the next address", error)
    raise DataError("; ".join(reasons))


def _file_name(url: str) -> str:
    """Returns the archive's local name: the last part of the address, reduced to plain characters.

    Raises:
        DataError: not an address of a web server.
    """
    try:
        address = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise DataError(f"{printable(url)}: is not a download address ({error})") from None
    if address.scheme not in ("http", "https"):
        raise DataError(
            f"{printable(url)}: is not a download address; expected one that begins with http:// or https://"
        )
    name = re.sub(r"[^A-Za-z0-9._+%-]", "_", address.path.rstrip("/").rpartition("/")[2]).lstrip(".")
    return name[-_MAX_NAME_LENGTH:] or "archive.zip"


def _fetch(url: str, partial: Path) -> None:
    """Appends to `partial` what is missing."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is complete
        raise

    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        # A server without ranges sends everything again.
        have = have if resumed else 0
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
