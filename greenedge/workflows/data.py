"""`greenedge data prepare`, `check`, `download` and `synth`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from greenedge.data.check_sources import SourceCheck, check_sources
from greenedge.data.download import download_from_any
from greenedge.data.manifest import read_manifest
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import check_images
from greenedge.data.synth import SynthOptions, synthesize
from greenedge.reporting.blocks import CommandResult
from greenedge.reporting.data import checked_lines, prepared_lines, present_check


def prepare_data(sources: Sequence[Path], out: Path, options: PrepareOptions) -> tuple[list[str], dict[str, Any]]:
    """Prepares a data set and tells what it holds, and its manifest.

    Raises:
        DataError: a source or an image cannot be used; nothing is made.
    """
    manifest = prepare(sources, out, options)
    size_bytes = sum(file.stat().st_size for file in out.iterdir())
    return prepared_lines(out, read_manifest(out), size_bytes), manifest


def check_source_images(sources: Sequence[Path], options: PrepareOptions) -> CommandResult[SourceCheck]:
    """Decodes what `prepare_data` would, writes nothing, and names every file that cannot be used.

    Raises:
        DataError: the sources cannot be used for a reason that is not of single files.
    """
    return present_check(check_sources(sources, options))


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
