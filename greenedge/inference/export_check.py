"""Verifies an exported folder, without the weights that it was made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from greenedge.device.processor import NO_VNNI, sums_are_exact
from greenedge.errors import DataError, UsageError
from greenedge.exits.policy import SavedPolicy, read_policy
from greenedge.inference.export import PARITY, is_export_file
from greenedge.inference.export_parity import compare_seeded
from greenedge.inference.loaded_export import load_export
from greenedge.inference.manifest import MANIFEST, POLICY, Manifest, needs_exact_sums, read_manifest
from greenedge.inference.parity_report import ParityReport, read_parity


@dataclass(frozen=True, eq=False)
class CheckedExport:
    """An export in which nothing was found to be wrong.

    Attributes:
        manifest: what it is.
        saved: its policy.
        others: names of files in the folder that are not the export's.
        size_bytes: of its files together.
        parity: measured when it was written.
        runtime: that ran the graphs now; None where they were not run.
        whole_difference: of the whole graph and the segments, over the logits' scale; None where they were not run.
        network_difference: of the segments and the network that they were made of, likewise.
    """

    manifest: Manifest
    saved: SavedPolicy
    others: tuple[str, ...]
    size_bytes: int
    parity: ParityReport
    runtime: str | None = None
    whole_difference: float | None = None
    network_difference: float | None = None


def check_export(folder: Path) -> CheckedExport:
    """Verifies the manifest, every file, the policy, and that the graphs say what they said when they were written.

    Programs of `torch.export` are not run: loading them may run code that is in them.

    Args:
        folder: of the export.

    Raises:
        DataError: something is missing, unexpected, changed, of another version, or gives other logits.
        UsageError: the policy is invalid, or for another network or precision.
        InstallationError: the runtime is missing, or cannot run the graphs.
    """
    manifest = read_manifest(folder, sealed=True)
    size_bytes, others = _check_files(folder, manifest)
    saved = _check_policy(folder, manifest)
    if PARITY not in manifest.files:
        raise DataError(f"{folder}: its manifest lists no {PARITY}, so the export is not complete; export again")
    parity = read_parity(folder)
    if manifest.kind == "torch":
        return CheckedExport(manifest, saved, others, size_bytes, parity)
    if needs_exact_sums(manifest) and not sums_are_exact():
        raise DataError(f"{folder}: its weights have 8 bits, and {NO_VNNI}; export it again on this machine")
    loaded = load_export(folder, manifest)
    try:
        whole, network = compare_seeded(loaded, parity, manifest)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from None
    return CheckedExport(manifest, saved, others, size_bytes, parity, loaded.runtime, whole, network)


def _check_files(folder: Path, manifest: Manifest) -> tuple[int, tuple[str, ...]]:
    """Bytes of the files, and names of those that are not the export's."""
    listed = {*manifest.files, MANIFEST, POLICY}
    present = {path.name for path in folder.iterdir()}
    missing = sorted(listed - present)
    if missing:
        raise DataError(f"{folder}: {missing[0]} is missing; export again")
    unexpected = sorted(name for name in present - listed if is_export_file(name))
    if unexpected:
        raise DataError(f"{folder}: {unexpected[0]} is not of this export; remove it, or export again")
    for name, digest in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise DataError(f"{path}: is no ordinary file; export again")
        try:
            found = _digest(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        if found != digest:
            twin = next((other for other, each in manifest.files.items() if each == found), None)
            what = f"holds {twin}" if twin else "was changed or truncated after it was written"
            raise DataError(f"{path}: {what}; export again")
    size = sum((folder / name).stat().st_size for name in listed)
    return size, tuple(sorted(present - listed))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_policy(folder: Path, manifest: Manifest) -> SavedPolicy:
    saved = read_policy(folder / POLICY, manifest.exit_names, manifest.weights)
    precision = saved.policy.precision
    if precision not in (None, manifest.precision):
        raise UsageError(
            f"{folder / POLICY}: was chosen in {precision}, and the graphs run in {manifest.precision}, where other "
            f"images would exit; tune again in {manifest.precision}"
        )
    return saved
