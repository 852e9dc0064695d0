"""`greenedge compare`: several networks on the same images, with intervals that say which differences are real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.errors import DataError, UsageError
from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.baselines import largest_advantage
from greenedge.exits.bootstrap import Interval, ResampledCurve, interval, resample_points, resample_shares
from greenedge.exits.confidence import find_criterion
from greenedge.exits.sweep import Sweep, score_outputs, sweep_all, sweep_thresholds
from greenedge.files import write_json
from greenedge.reporting.band_plot import Band, draw_bands
from greenedge.reporting.tables import format_table, write_csv
from greenedge.workflows.outputs import Evaluated, run_once
from greenedge.workflows.report import Report

BEST = "best.safetensors"
_POINTS = 101
_COSTS = 240
_ROUNDING = 1e-6  # of float32 means over images


@dataclass(frozen=True)
class _Run:
    name: str
    evaluated: Evaluated
    curve: Sweep
    resampled: ResampledCurve
    final: np.ndarray  # float32 (B,): the final exit's accuracy on each resample


def compare(
    runs: Sequence[Path],
    data: Path | None,
    split: str,
    criterion: str | None,
    out: Path,
    say: Callable[[str], None],
) -> Report:
    """Accuracy, cost and areas of every run with 95 % intervals, each pair's difference, and one picture with bands.

    All numbers of a resample are of the same images for all runs, so that differences are paired.

    Args:
        runs: run directories or checkpoints, two or more.
        data: a prepared data set; None: the one each was trained on, which must be the same.
        split: `val`, `calibration` or `train`.
        criterion: a name in `CRITERIA`; None: each recipe's.
        out: folder for compare.json, .csv and .png.
        say: told what happens.

    Raises:
        UsageError: fewer than two runs.
        DataError: runs on different images.
        GreenedgeError: a run cannot be used.
    """
    if len(runs) < 2:
        raise UsageError("give at least two runs to compare")
    weights = [path / BEST if path.is_dir() else path for path in runs]
    evaluated = [run_once(path, data, split, None, say) for path in weights]
    for path, each in zip(runs, evaluated, strict=True):
        if each.images_digest != evaluated[0].images_digest:
            raise DataError(
                f"{path}: its {split} images are not those of {runs[0]}; compare runs on one data set (--data)"
            )
    shares = resample_shares(len(evaluated[0].split))
    names = _names(runs)
    compared = [_resampled(name, each, criterion, shares) for name, each in zip(names, evaluated, strict=True)]
    reference = max(float(run.evaluated.outputs.gflops[-1]) for run in compared)
    records = [_record(run, reference) for run in compared]
    by_name = {record["run"]: record for record in records}
    pairs = [
        _pair(first, second, by_name, reference)
        for place, first in enumerate(compared)
        for second in compared[place + 1 :]
    ]
    result = {
        "split": split,
        "images": len(evaluated[0].split),
        "reference_gflops": reference,
        "runs": records,
        "pairs": pairs,
    }
    write_json(out / "compare.json", result)
    flat = [{key: value for key, value in record.items() if not isinstance(value, list)} for record in records]
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


def _resampled(name: str, evaluated: Evaluated, criterion: str | None, shares: np.ndarray) -> _Run:
    scores = score_outputs(evaluated.outputs, find_criterion(criterion or evaluated.model.config.sweep.criterion))
    whole = sweep_all(scores)
    targets = np.linspace(whole.gflops[0], whole.gflops[-1], _POINTS)  # evenly spaced in cost, dearest first
    places = np.unique([int(np.abs(whole.gflops - target).argmin()) for target in targets])
    curve = sweep_thresholds(scores, whole.thresholds[places])
    early_exits = scores.num_exits - 1
    resampled = resample_points(scores, [(each,) * early_exits for each in curve.thresholds.tolist()], shares)
    final = shares @ scores.correct[-1].astype(np.float32)
    return _Run(name, evaluated, curve, resampled, final)


def _record(run: _Run, reference: float) -> dict[str, Any]:
    outputs = run.evaluated.outputs
    advantage = largest_advantage(
        run.curve.gflops, run.curve.accuracy, run.evaluated.alone_gflops, outputs.exit_accuracies()
    )
    return {
        "run": run.name,
        "accuracy": float(outputs.exit_accuracies()[-1]),
        "accuracy_interval": _ends(interval(run.final)),
        "gflops": float(outputs.gflops[-1]),
        "plain_gflops": run.evaluated.cost.plain_gflops,
        "area": trapezoid_area(run.curve.gflops, run.curve.accuracy),
        "area_interval": _ends(interval(run.resampled.trapezoid_areas())),
        "dominated_area": dominated_area(run.curve.gflops, run.curve.accuracy, reference),
        "dominated_area_interval": _ends(interval(run.resampled.dominated_areas(reference))),
        "advantage": advantage.accuracy,
        "advantage_gflops": advantage.gflops,
    }


def _pair(first: _Run, second: _Run, records: Mapping[str, dict[str, Any]], reference: float) -> dict[str, Any]:
    """First less second, with intervals over the same resamples."""
    found: dict[str, Any] = {"first": first.name, "second": second.name}
    for key, differences in (
        ("accuracy", first.final - second.final),
        (
            "dominated_area",
            first.resampled.dominated_areas(reference) - second.resampled.dominated_areas(reference),
        ),
    ):
        found[key] = records[first.name][key] - records[second.name][key]
        found[f"{key}_interval"] = _ends(interval(differences))
        equal = np.abs(differences) < _ROUNDING
        found[f"{key}_first_is_better"] = float((differences[~equal] > 0).sum() + equal.sum() / 2) / len(differences)
    return found


def _band(run: _Run) -> Band:
    costs = np.linspace(float(run.curve.gflops.min()), float(run.curve.gflops.max()), _COSTS)
    at_costs = run.resampled.at_costs(costs)
    known = ~np.isnan(at_costs).any(axis=0)  # a cost below the cheapest point of some resample has no band
    low, high = np.quantile(at_costs[:, known], [0.025, 0.975], axis=0)
    order = np.argsort(run.curve.gflops)
    return Band(
        name=run.name,
        gflops=run.curve.gflops[order],
        accuracy=run.curve.accuracy[order],
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
            f"{100 * record['advantage']:+.2f} at {record['advantage_gflops']:.4f}",
        ]
        for record in result["runs"]
    ]
    headers = ["run", "final (%)", "95 %", "GFLOPs", "plain", "area", "95 %", "dominated", "95 %", "over fixed exits"]
    lines = [
        f"{result['split']}: {result['images']} images; areas in % x GFLOPs, dominated up to "
        f"{result['reference_gflops']:.4f} GFLOPs; over fixed exits: points of accuracy, at that cost",
        format_table(headers, rows),
    ]
    for pair in result["pairs"]:
        for key, factor, unit in (("accuracy", 100, "points"), ("dominated_area", 1, "% x GFLOPs")):
            low, high = pair[f"{key}_interval"]
            verdict = "no difference that these images show" if low <= 0 <= high else "a real difference"
            what = "final accuracy" if key == "accuracy" else "dominated area"
            better = f"better in {100 * pair[f'{key}_first_is_better']:.1f} % of resamples"
            lines.append(
                f"{pair['first']} less {pair['second']}, {what}: {factor * pair[key]:+.3f} {unit} "
                f"({_span(pair[f'{key}_interval'], factor, 3)}; {better}): {verdict}"
            )
    lines.append(f"table and picture: {out / 'compare'}.csv, .json and .png")
    return "\n".join(lines)


def _span(ends: list[float], factor: float, digits: int) -> str:
    return f"{factor * ends[0]:.{digits}f} to {factor * ends[1]:.{digits}f}"
