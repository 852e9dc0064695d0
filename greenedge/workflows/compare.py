"""`greenedge compare`: several networks on the same images, with intervals that say which differences are real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.errors import DataError, UsageError
from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.bootstrap import Interval, accuracy_interval, bootstrap_weights, interval
from greenedge.exits.comparison import Pair, ResampledNetwork, compare_pairs, resample_network
from greenedge.exits.confidence import find_criterion
from greenedge.exits.sweep import score_outputs
from greenedge.files import write_json
from greenedge.reporting.band_plot import Band, draw_bands
from greenedge.reporting.tables import format_table, write_csv
from greenedge.workflows.outputs import EvaluatedRun, PassOptions, load_or_compute_outputs
from greenedge.workflows.report import Report

BEST = "best.safetensors"
_COSTS = 240


@dataclass(frozen=True)
class _Run:
    name: str
    evaluated: EvaluatedRun
    network: ResampledNetwork


def compare(
    runs: Sequence[Path],
    options: PassOptions,
    criterion: str | None,
    out: Path,
    say: Callable[[str], None],
) -> Report:
    """Accuracy, cost and areas of every run with 95 % intervals, each pair's difference, and one picture with bands.

    All numbers of a resample are of the same images for all runs, so that differences are paired.

    Args:
        runs: run directories or checkpoints, two or more.
        options: which images, the same for all, and in which precision.
        criterion: a name in `CRITERIA`; None: each config's.
        out: folder for compare.json, .csv and .png.
        say: told what happens.

    Raises:
        UsageError: fewer than two runs.
        DataError: runs on different images.
        GreenedgeError: a run cannot be used.
    """
    if len(runs) < 2:
        raise UsageError("give at least two runs to compare")
    split = options.split
    weights = [path / BEST if path.is_dir() else path for path in runs]
    evaluated = [load_or_compute_outputs(path, options.data, split, None, say, options.precision) for path in weights]
    for path, each in zip(runs, evaluated, strict=True):
        if each.images_digest != evaluated[0].images_digest:
            raise DataError(
                f"{path}: its {split} images are not those of {runs[0]}; compare runs on one data set (--data)"
            )
    shares = bootstrap_weights(len(evaluated[0].split))
    names = _names(runs)
    compared = [_resampled(name, each, criterion, shares) for name, each in zip(names, evaluated, strict=True)]
    reference = max(float(run.evaluated.outputs.gflops[-1]) for run in compared)
    together = 1 - 0.05 / len(compared)  # the intervals over fixed exits hold for all runs at once
    records = [_record(run, reference, together) for run in compared]
    pairs = [_pair_record(pair, names) for pair in compare_pairs([run.network for run in compared], reference)]
    result = {
        "split": split,
        "images": len(evaluated[0].split),
        "reference_gflops": reference,
        "runs": records,
        "pairs": pairs,
    }
    write_json(out / "compare.json", result)
    flat = [{key: value for key, value in record.items() if type(value) in (str, float)} for record in records]
    write_csv(out / "compare.csv", list(flat[0]), [list(record.values()) for record in flat])
    draw_bands([_band(run) for run in compared], f"{split}, {len(evaluated[0].split)} images", out / "compare.png")
    return Report(_text(result, out), result)


def _names(runs: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell the runs apart."""
    parts = [[part for part in path.parts if part != BEST] or [str(path)] for path in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number + 1})" for number, name in enumerate(names)]


def _resampled(name: str, evaluated: EvaluatedRun, criterion: str | None, shares: np.ndarray) -> _Run:
    scores = score_outputs(evaluated.outputs, find_criterion(criterion or evaluated.model.config.sweep.criterion))
    return _Run(name, evaluated, resample_network(scores, shares))


def _record(run: _Run, reference: float, together: float) -> dict[str, Any]:
    outputs, network = run.evaluated.outputs, run.network
    curve, resampled = network.curve, network.resampled
    accuracy = float(network.exit_accuracies[-1])
    advantage = network.advantage(run.evaluated.standalone_gflops, together)
    return {
        "run": run.name,
        "accuracy": accuracy,
        "accuracy_interval": _ends(accuracy_interval(accuracy, len(network.right), network.resampled_exits[:, -1])),
        "gflops": float(outputs.gflops[-1]),
        "plain_gflops": run.evaluated.cost.plain_gflops,
        "area": trapezoid_area(curve.gflops, curve.accuracy),
        "area_interval": _ends(interval(resampled.trapezoid_areas())),
        "dominated_area": dominated_area(curve.gflops, curve.accuracy, reference),
        "dominated_area_interval": _ends(interval(resampled.dominated_areas(reference))),
        "advantage": advantage.largest.accuracy,
        "advantage_gflops": advantage.largest.gflops,
        "advantage_interval": None if advantage.interval is None else _ends(advantage.interval),
        "pays": advantage.pays,
    }


def _pair_record(pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    """First less second; `joint_interval` and `differs` take account of all pairs, the others of this one alone."""
    found: dict[str, Any] = {"first": names[pair.first], "second": names[pair.second]}
    for key, difference in (("accuracy", pair.accuracy), ("dominated_area", pair.dominated_area)):
        found[key] = difference.value
        found[f"{key}_interval"] = _ends(difference.interval)
        found[f"{key}_joint_interval"] = _ends(difference.joint_interval)
        found[f"{key}_first_is_better"] = difference.first_is_better
        found[f"{key}_differs"] = difference.real
    return found


def _band(run: _Run) -> Band:
    costs = np.linspace(float(run.network.curve.gflops.min()), float(run.network.curve.gflops.max()), _COSTS)
    at_costs = run.network.resampled.at_costs(costs)
    known = ~np.isnan(at_costs).any(axis=0)  # a cost below the cheapest point of some resample has no band
    low, high = np.quantile(at_costs[:, known], [0.025, 0.975], axis=0)
    order = np.argsort(run.network.curve.gflops)
    return Band(
        name=run.name,
        gflops=run.network.curve.gflops[order],
        accuracy=run.network.curve.accuracy[order],
        band_gflops=costs[known],
        low=low,
        high=high,
        plain=(run.evaluated.cost.plain_gflops, float(run.evaluated.outputs.exit_accuracies()[-1])),
    )


def _ends(found: Interval) -> list[float]:
    return [found.low, found.high]


def _text(result: dict[str, Any], out: Path) -> str:
    rows = [
        [
            record["run"],
            f"{100 * record['accuracy']:.2f}",
            _span(record["accuracy_interval"], 100, 2),
            f"{record['gflops']:.4f}",
            f"{record['plain_gflops']:.4f}",
            f"{record['area']:.4f}",
            _span(record["area_interval"], 1, 4),
            f"{record['dominated_area']:.4f}",
            _span(record["dominated_area_interval"], 1, 4),
            _over_fixed(record),
        ]
        for record in result["runs"]
    ]
    headers = ["run", "final (%)", "95 %", "GFLOPs", "plain", "area", "95 %", "dominated", "95 %", "over fixed exits"]
    lines = [
        f"{result['split']}: {result['images']} images; areas in % x GFLOPs, dominated up to "
        f"{result['reference_gflops']:.4f} GFLOPs; over fixed exits: points of accuracy, at that cost, with an "
        "interval that holds for all runs at once",
        format_table(headers, rows),
    ]
    pairs = result["pairs"]
    if len(pairs) > 1:
        lines.append(
            f"the intervals below hold for the {2 * len(pairs)} differences of {len(pairs)} pairs at once, with 95 % "
            "confidence; only what is beyond them is called real"
        )
    for pair in pairs:
        for key, factor, unit in (("accuracy", 100, "points"), ("dominated_area", 1, "% x GFLOPs")):
            verdict = "a real difference" if pair[f"{key}_differs"] else "no difference that these images show"
            what = "final accuracy" if key == "accuracy" else "dominated area"
            better = f"better in {100 * pair[f'{key}_first_is_better']:.1f} % of resamples"
            lines.append(
                f"{pair['first']} less {pair['second']}, {what}: {factor * pair[key]:+.3f} {unit} "
                f"({_span(pair[f'{key}_joint_interval'], factor, 3)}; {better}): {verdict}"
            )
    lines.append(f"table and picture: {out / 'compare'}.csv, .json and .png")
    return "\n".join(lines)


def _over_fixed(record: dict[str, Any]) -> str:
    if record["advantage_interval"] is None:
        return "no early exit"
    verdict = "" if record["pays"] else ", within noise" if record["advantage"] > 0 else ", does not pay"
    span = _span(record["advantage_interval"], 100, 2)
    return f"{100 * record['advantage']:+.2f} at {record['advantage_gflops']:.4f} ({span}{verdict})"


def _span(ends: list[float], factor: float, digits: int) -> str:
    return f"{factor * ends[0]:.{digits}f} to {factor * ends[1]:.{digits}f}"
