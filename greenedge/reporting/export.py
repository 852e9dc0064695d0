"""The result of `greenedge export --check` as a table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from greenedge.exits.policy import ExitPolicy
from greenedge.inference.export_check import CheckedExport
from greenedge.reporting.blocks import CommandResult, Table


def policy_sentence(policy: ExitPolicy) -> str:
    """When images exit, such as `images exit by entropy threshold 1 (nats)`."""
    text = str(policy)
    return text if text.startswith("no image") else f"images exit by {text}"


def present_check(folder: Path, found: CheckedExport) -> CommandResult[CheckedExport]:
    """What was verified, a line each."""
    manifest, parity = found.manifest, found.parity
    rows = [
        ["manifest", f"{manifest.format}, {manifest.kind}, {manifest.precision}; unchanged"],
        [
            "files",
            f"all {len(manifest.files) + 2}, {found.size_bytes / 1e6:.1f} MB; unchanged",
        ],
        ["policy", f"{found.saved.policy}; for these exits"],
        [
            "parity when written",
            f"within {parity.relative:.1g} on {parity.images} {parity.source} images, "
            f"{100 * parity.equal_exits:.4g} % equal exits",
        ],
    ]
    if found.runtime is None:
        rows.append(["parity now", "not run: loading programs of torch.export may run code that is in them"])
    else:
        rows += [
            ["whole graph and segments", f"within {found.whole_difference:.1g} on seeded images, {found.runtime}"],
            ["network and segments", f"within {found.network_difference:.1g} on seeded images, {found.runtime}"],
        ]
    if found.others:
        rows.append(["other files", ", ".join(found.others)])
    json = {
        "folder": str(folder),
        "format": manifest.format,
        "kind": manifest.kind,
        "precision": manifest.precision,
        "files": len(manifest.files) + 2,
        "policy": asdict(found.saved.policy),
        "runtime": found.runtime,
        "whole_difference": found.whole_difference,
        "network_difference": found.network_difference,
        "other_files": list(found.others),
    }
    note = f"differences are of logits, over their scale; up to {parity.tolerance:g} is rounding"
    blocks = (f"{folder}: nothing is wrong with this export", Table(["checked", "found"], rows), note)
    return CommandResult(found, blocks, json)
