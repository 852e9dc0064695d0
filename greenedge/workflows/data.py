"""`greenedge data prepare`, `check`, `download` and `synth`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from greenedge.data.download import download
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import check_images
from greenedge.data.synth import SynthOptions, synthesize


def prepare_data(sources: Sequence[Path], out: Path, options: PrepareOptions) -> list[str]:
    """Prepares a data set and says what it holds.

    Raises:
        DataError: a source or an image cannot be used; nothing is made.
    """
    manifest = prepare(sources, out, options)
    counts = {name: split["images"] for name, split in manifest["splits"].items()}
    held = ", ".join(f"{count} {name} images" for name, count in counts.items())
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    lines = [f"{out}: {held} of {len(manifest['classes'])} classes, {options.size} px, {size:.0f} MB"]
    for name, count, use in (("train", counts["train"], "train"), ("val", counts["val"], "evaluate")):
        if not count:
            lines.append(f"note: the sources hold no {name} images, so nothing can be used to {use}")
    return [*_left_out(manifest), *lines]


def _left_out(manifest: Mapping[str, Any]) -> list[str]:
    """Lines about what is in the sources and not in the data set."""
    lines = [f"left out: {problem}" for problem in manifest["skipped_images"]]
    if manifest["skipped"]:
        count = manifest["skipped"]
        lines.append(f"note: {count} {'images' if count > 1 else 'image'} could not be used; left out")
    unused = manifest["unused"]
    if unused:
        count = sum(unused.values())
        kinds = ", ".join(_described(kind, number) for kind, number in unused.items())
        lines.append(f"note: {count} {'files were' if count > 1 else 'file was'} not used: {kinds}")
    return lines


def _described(kind: str, count: int) -> str:
    """Such as `3 .txt`, `2 hidden or system files`, `test/ (10)`."""
    if kind.endswith("/"):
        return f"{kind} ({count})"
    return f"{count} {kind}" + ("s" if " " in kind and count > 1 else "")


def check_data(folder: Path) -> list[str]:
    """Compares every image of a prepared data set with its digest.

    Raises:
        DataError: something is damaged or was changed.
    """
    checked = check_images(folder)
    lines = [
        f"{folder}: all {count} {name} images are as they were prepared" for name, count in checked.items() if count
    ]
    if not lines:
        lines = [
            f"{folder}: was prepared without digests, so only its shape was checked; prepare it again to have some"
        ]
    return lines


def download_data(out: Path, url: str, md5: str) -> list[str]:
    """Downloads an archive and says how to go on.

    Raises:
        DataError: it cannot be had whole.
    """
    archive = download(out, url, md5)
    return [f"{archive}: whole and checked; next: greenedge data prepare {quote(str(archive))} --out DIR"]


def synthesize_data(out: Path, options: SynthOptions) -> list[str]:
    """Generates a data set and says how to go on.

    Raises:
        DataError: it cannot be written.
    """
    synthesize(out, options)
    images = options.classes * (options.per_class + options.val_per_class)
    return [
        f"{out}: {images} images of {options.classes} classes; next: greenedge data prepare {quote(str(out))} --out DIR"
    ]
