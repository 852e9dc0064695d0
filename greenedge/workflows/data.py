"""`greenedge data prepare`, `check`, `download` and `synth`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from greenedge.data.download import download_from_any
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import check_images, read_manifest
from greenedge.data.synth import SynthOptions, synthesize
from greenedge.reporting.data import checked_lines, prepared_lines


def prepare_data(sources: Sequence[Path], out: Path, options: PrepareOptions) -> list[str]:
    """Prepares a data set and tells what it holds.

    Raises:
        DataError: a source or an image cannot be used; nothing is made.
    """
    prepare(sources, out, options)
    return prepared_lines(out, read_manifest(out), sum(file.stat().st_size for file in out.iterdir()))


def check_data(folder: Path) -> list[str]:
    """Compares every image of a prepared data set with its digest.

    Raises:
        DataError: something is damaged or was changed.
    """
    return checked_lines(folder, check_images(folder))


def download_data(out: Path, urls: Sequence[str], md5: str) -> list[str]:
    """Downloads an archive from the first address that has it, and tells how to go on.

    Raises:
        DataError: it cannot be downloaded whole.
    """
    archive = download_from_any(out, urls, md5)
    return [f"{archive}: whole and checked; next: greenedge data prepare {quote(str(archive))} --out DIR"]


def synthesize_data(out: Path, options: SynthOptions) -> list[str]:
    """Generates a data set and tells how to go on.

    Raises:
        DataError: it cannot be written.
    """
    synthesize(out, options)
    images = options.classes * (options.per_class + options.val_per_class)
    return [
        f"{out}: {images} images of {options.classes} classes; next: greenedge data prepare {quote(str(out))} --out DIR"
    ]
