"""`greenedge export`: a trained network and its policy as files for machines without greenedge."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenedge.config.schema import IMAGENET_MEAN, IMAGENET_STD
from greenedge.errors import DataError, UsageError
from greenedge.exits.policy import SavedPolicy
from greenedge.inference.export import (
    MANIFEST,
    RUNNER,
    Kind,
    Meaning,
    check_exporter,
    export_network,
    is_export,
    remove_export,
)
from greenedge.workflows.build import load_model, model_summary
from greenedge.workflows.policies import PolicyOptions, choose_policy, describe_policy


def export(weights: Path, options: PolicyOptions, out: Path, kind: Kind) -> list[str]:
    """Writes the graphs of a checkpoint's network, its policy and a manifest.

    Args:
        weights: a checkpoint.
        options: when images leave.
        out: a folder: a new or empty one, or a former export, which is replaced when all is done.
        kind: `onnx`, or `torch` for programs of `torch.export`.

    Returns:
        What to tell the user.

    Raises:
        GreenedgeError: something cannot be used or written; `out` is as it was.
    """
    check_exporter(kind)
    _check_replaceable(out)
    model = load_model(weights)
    chosen = choose_policy(model, options)
    saved = SavedPolicy(chosen, model.exits, model.digest)
    data = model.config.data
    meaning = Meaning(data.mean or IMAGENET_MEAN, data.std or IMAGENET_STD, model.stored_size, model.classes)
    with _refilled(out) as partial:
        export_network(model.network, saved, meaning, partial, kind)
    sizes = [path.stat().st_size for path in out.glob("segment-*")]
    lines = [
        f"{out}: {model_summary(model.config.model)} for {data.input_size} px",
        f"{len(sizes)} segments, {sum(sizes) / 1e6:.1f} MB together, and the whole network in one",
        f"images leave by {describe_policy(chosen)}",
    ]
    return lines + ([f"next: python {out / RUNNER} {out} IMAGES.npy"] if kind == "onnx" else [])


def _check_replaceable(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out}: exists already and is no folder; choose another --out, or remove it first")
    if any(out.iterdir()) and not is_export(out):
        raise UsageError(f"{out}: holds files that are no export of greenedge; choose another --out, or empty it first")


@contextmanager
def _refilled(out: Path) -> Iterator[Path]:
    """A folder whose files take the place of a former export's in `out`, when the block ends well.

    It lies within `out`, which may be a mounted disk. Files that are no export's stay.

    Raises:
        DataError: something cannot be written; `out` is as it was.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]  # innermost first
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as name:
            partial = Path(name)
            yield partial
            remove_export(out)  # from here on, only a failure to rename could leave neither export
            for path in sorted(partial.iterdir(), key=lambda path: path.name == MANIFEST):  # the manifest last
                path.replace(out / path.name)
    except BaseException as error:
        for folder in made:
            with contextlib.suppress(OSError):  # somebody else may have put something there
                folder.rmdir()
        if isinstance(error, OSError):
            raise DataError(f"{out}: {error.strerror or error}; nothing was kept") from None
        raise
