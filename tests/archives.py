"""Reads archives of the tests' own on any Python that greenedge runs on."""

from __future__ import annotations

import tarfile
from pathlib import Path


def extract(archive: Path, folder: Path) -> None:
    """Extracts a tar file that is part of the repository."""
    # Python 3.11.3 and older know no filters, and the first release to have them warns where none is named.
    filters = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(archive) as file:
        file.extractall(folder, **filters)  # type: ignore[arg-type]
