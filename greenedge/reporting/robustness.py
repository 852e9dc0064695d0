"""The result of `greenedge robustness` as a table, JSON, CSV and a figure."""

from __future__ import annotations

import dataclasses
from typing import Any

from greenedge.exits.robustness import MeanPoint, Robustness, ShiftedPoint
from greenedge.exits.running_quantiles import WARM_UP
from greenedge.exits.sweep import OperatingPoint
from greenedge.reporting.blocks import Block, CommandResult, Table
from greenedge.reporting.robustness_plot import plot_robustness
from greenedge.reporting.summary import RunSummary


def present_robustness(summary: RunSummary, found: Robustness) -> CommandResult[Robustness]:
    """A row per corruption, its severities averaged, beside the clean images.

    Args:
        summary: of the network on the clean images.
        found: what the policy does.
    """
    sets = [found.clean, *found.shifted]
    json: dict[str, Any] = {
        **dataclasses.asdict(found.policy),
        "precision": summary.precision,
        "clean": _record(found, found.clean),
        "corruptions": {name: _means(found, name) for name in found.corruptions},
        "mean": _means(found, None),
        "sets": [_record(found, each) for each in found.shifted],
    }
    csv_rows = [list(_flat(found, each, summary.num_exits).values()) for each in sets]
    return CommandResult(
        value=found,
        blocks=(summary.heading, _table(summary, found), *_sentences(found)),
        json=json,
        csv=Table(list(_flat(found, found.clean, summary.num_exits)), csv_rows),
        figure=plot_robustness(found, summary.model),
    )


def _table(summary: RunSummary, found: Robustness) -> Table:
    rates = [f"{name} (%)" for name in summary.exit_names]
    headers = ["corruption", "accuracy (%)", *rates, "GFLOPs", "drift (%)"]
    if found.held:
        headers += ["held: accuracy (%)", "held: GFLOPs", "held: drift (%)"]
    named: list[tuple[str, MeanPoint | OperatingPoint, MeanPoint | OperatingPoint | None]] = [
        ("none (clean)", found.clean.point, found.clean.held)
    ]
    for name in (*found.corruptions, None):
        named.append((name or "mean of all", found.mean(name), found.mean(name, held=True) if found.held else None))
    rows = []
    for name, point, held in named:
        row = [name, f"{100 * point.accuracy:.2f}", *(f"{100 * share:.1f}" for share in point.exit_shares)]
        row += [f"{point.gflops:.4f}", f"{100 * found.drift(point.gflops):+.1f}"]
        if held is not None:
            row += [f"{100 * held.accuracy:.2f}", f"{held.gflops:.4f}", f"{100 * found.drift(held.gflops):+.1f}"]
        rows.append(row)
    return Table(headers, rows)


def _sentences(found: Robustness) -> list[Block]:
    low, high = found.clean.accuracy_interval.ends
    name, drift = found.worst()
    said: list[Block] = [
        f"{found.policy}: {found.clean.point.gflops:.4f} GFLOPs per image on {found.clean.images} clean images, "
        f"accuracy {100 * low:.2f} to {100 * high:.2f} % (95 % interval over images)",
        f"drift is the mean cost minus that of the clean images, as a share of it; it is largest under {name}: "
        f"{100 * drift:+.1f} %; rows of corruptions are means over their severities, which the CSV file has one by one",
    ]
    if found.held:
        name, drift = found.worst(held=True)
        said.append(
            "held: each exit's limit is a running quantile of the uncertainties before, by which the exit rates of the "
            f"calibration images are kept; images come in a random order (seed 0), and each exit takes its first "
            f"{WARM_UP} by the policy's own limit; drift is then largest under {name}: {100 * drift:+.1f} %"
        )
    return said


def _means(found: Robustness, corruption: str | None) -> dict[str, Any]:
    kept = {"held": _point(found, found.mean(corruption, held=True))} if found.held else {}
    return {**_point(found, found.mean(corruption)), **kept}


def _record(found: Robustness, each: ShiftedPoint) -> dict[str, Any]:
    record: dict[str, Any] = {"corruption": each.corruption or None, "severity": each.severity, "images": each.images}
    record |= {**_point(found, each.point), "accuracy_interval": each.accuracy_interval.ends}
    return record if each.held is None else {**record, "held": _point(found, each.held)}


def _point(found: Robustness, point: MeanPoint | OperatingPoint) -> dict[str, Any]:
    return {
        "accuracy": point.accuracy,
        "exit_shares": list(point.exit_shares),
        "gflops_drift": found.drift(point.gflops),
        "gflops": point.gflops,
    }


def _flat(found: Robustness, each: ShiftedPoint, exits: int) -> dict[str, float | str]:
    low, high = each.accuracy_interval.ends
    row: dict[str, float | str] = {"corruption": each.corruption, "severity": each.severity, "images": each.images}
    row |= {"accuracy": each.point.accuracy, "accuracy_low": low, "accuracy_high": high}
    for prefix, point in (("", each.point), ("held_", each.held)):
        if point is None:
            continue
        if prefix:
            row[f"{prefix}accuracy"] = point.accuracy
        row |= {f"{prefix}share_{index + 1}": point.exit_shares[index] for index in range(exits)}
        row |= {f"{prefix}gflops_drift": found.drift(point.gflops), f"{prefix}gflops": point.gflops}
    return row
