"""`greenedge eval` and `greenedge sweep`: one pass over the images, then arithmetic."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from greenedge.cost.flops import NetworkCost, count_costs
from greenedge.data.label_maps import Label
from greenedge.data.prepared import MANIFEST, PreparedSplit, open_prepared
from greenedge.errors import DataError, UsageError
from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.confidence import find_criterion
from greenedge.exits.outputs import ExitOutputs, load_outputs, save_outputs
from greenedge.exits.sweep import ExitScores, Sweep, score_outputs, sweep_all, sweep_thresholds
from greenedge.files import write_json
from greenedge.inference.collect import collect_logits
from greenedge.reporting.figures import exit_name
from greenedge.reporting.sweep_plot import ReferenceMarks, draw_sweep
from greenedge.reporting.tables import format_table, write_csv
from greenedge.training.precision import choose_device
from greenedge.workflows.build import (
    TrainedModel,
    build_transform,
    check_same_classes,
    load_model,
    model_summary,
    open_named_split,
    place,
)
from greenedge.workflows.labels import class_labels
from greenedge.workflows.report import Report

Thresholds = Sequence[float] | Literal["all"]
_ROWS_SHOWN = 13


@dataclass(frozen=True)
class Evaluated:
    """A trained network and what it answered.

    Attributes:
        model: the network.
        split: the images.
        outputs: its answers at every exit.
        cost: of every exit.
        folder: where results are written.
    """

    model: TrainedModel
    split: PreparedSplit
    outputs: ExitOutputs
    cost: NetworkCost
    folder: Path


def run_once(
    weights: Path, data: Path | None, split_name: str, out: Path | None, say: Callable[[str], None]
) -> Evaluated:
    """Loads a checkpoint and has its answers on a split: the kept ones, or those of one pass over the images.

    Args:
        weights: the checkpoint.
        data: a prepared data set; None: the one trained on.
        split_name: `val`, `calibration` or `train`.
        out: where results go; None: the checkpoint's folder.
        say: told what happens.

    Raises:
        GreenedgeError: the checkpoint or the data cannot be used, or do not fit each other.
    """
    model = load_model(weights)
    config = model.config
    if data is None and not Path(config.data.path).exists():
        raise DataError(f"{config.data.path}: the data set that {weights} was trained on is not here; give --data")
    prepared = open_prepared(data or Path(config.data.path))
    check_same_classes(model, prepared, weights)
    split = open_named_split(prepared, split_name, config.data)
    if len(split) == 0:
        raise DataError(
            f"the {split_name} split is empty: the recipe set data.calibration_per_class = "
            f"{config.data.calibration_per_class}; choose another --split"
        )
    cost = count_costs(model.network, config.data.image_size)
    folder = out or weights.parent
    path = folder / f"outputs-{split_name}.npz"
    source = _fingerprint(weights, prepared.path / MANIFEST, split)
    outputs = load_outputs(path, source)
    if outputs is None:
        network = place(model.network, choose_device("auto"), channels_last=config.train.channels_last)
        transform = build_transform(config.data, channels_last=config.train.channels_last)
        outputs = ExitOutputs(
            logits=collect_logits(network, split, transform),
            labels=split.labels[split.rows],
            gflops=np.array([each.gflops for each in cost.exits]),
        )
        save_outputs(path, outputs, source)
    else:
        say(f"{path}: answers of these weights on these images are kept there; the network need not run")
    return Evaluated(model, split, outputs, cost, folder)


def evaluate(
    evaluated: Evaluated, criterion: str | None, threshold: float | None, labels_map: Path | None = None
) -> Report:
    """Accuracy and cost of each exit, and of all of them together at one threshold.

    Args:
        evaluated: a network's answers.
        criterion: a name in `CRITERIA`; None: the recipe's.
        threshold: in the criterion's unit; None: nothing leaves early.
        labels_map: a map from class indices to the labels of `predictions-<split>.csv`; None: the data set's own.

    Raises:
        DataError: the map cannot be used.
    """
    labels = class_labels(evaluated.model.classes, labels_map)
    criterion = criterion or evaluated.model.config.sweep.criterion
    rule = find_criterion(criterion)
    chosen = rule.never if threshold is None else threshold
    scores = score_outputs(evaluated.outputs, rule)
    (point,) = sweep_thresholds(scores, [chosen]).points()
    names, exits = _exit_labels(evaluated), _each_exit(evaluated)
    result = {
        "split": evaluated.split.name,
        "images": len(evaluated.split),
        "criterion": criterion,
        "threshold": chosen,
        "accuracy": point.accuracy,
        "gflops": point.gflops,
        "exit_shares": list(point.exit_shares),
        "exits": exits,
        "plain_gflops": evaluated.cost.plain_gflops,
        "epoch": evaluated.model.epoch,
    }
    each_exit = [
        [name, e["accuracy"], e["gflops"], e["alone_gflops"], share]
        for name, e, share in zip(names, exits, point.exit_shares, strict=True)
    ]
    rows = [
        [name, f"{100 * accuracy:.2f}", f"{gflops:.4f}", f"{alone:.4f}", f"{100 * share:.1f}"]
        for name, accuracy, gflops, alone, share in each_exit
    ]
    headers = ["exit", "accuracy (%)", "GFLOPs", "GFLOPs alone", "leave here (%)"]
    write_csv(
        evaluated.folder / f"eval-{evaluated.split.name}.csv",
        ["exit", "accuracy", "gflops", "alone_gflops", "share"],
        each_exit,
    )
    write_json(evaluated.folder / f"eval-{evaluated.split.name}.json", result)
    _write_predictions(evaluated, scores.exits_taken(chosen), labels)
    text = "\n".join(
        [
            _heading(evaluated),
            format_table(headers, rows),
            f"{criterion} threshold {chosen:g} ({rule.unit}): {100 * point.accuracy:.2f} % at "
            f"{point.gflops:.4f} GFLOPs an image; the plain network costs {evaluated.cost.plain_gflops:.4f}",
        ]
    )
    return Report(text, result)


def _write_predictions(evaluated: Evaluated, exits: np.ndarray, labels: Mapping[int, Label]) -> None:
    """`predictions-<split>.csv`: each image's label, the one predicted where it left, and that exit, from 1."""
    outputs = evaluated.outputs
    predicted = outputs.logits.argmax(axis=2)[exits, np.arange(len(exits))]
    rows = [
        [row, labels[label], labels[prediction], exit_index + 1]
        for row, label, prediction, exit_index in zip(
            evaluated.split.rows.tolist(), outputs.labels.tolist(), predicted.tolist(), exits.tolist(), strict=True
        )
    ]
    path = evaluated.folder / f"predictions-{evaluated.split.name}.csv"
    write_csv(path, ["row", "label", "prediction", "exit"], rows)


def sweep(
    evaluated: Evaluated, criterion: str | None, thresholds: Thresholds | None, reference_gflops: float | None
) -> Report:
    """Operating points of a shared threshold, their areas, and the picture of the curve.

    Args:
        evaluated: a network's answers.
        criterion: a name in `CRITERIA`; None: the recipe's.
        thresholds: in the criterion's unit, or `all`; None: the recipe's.
        reference_gflops: up to which the dominated area counts; None: the cost of running everything.

    Raises:
        UsageError: the reference cost is not positive.
    """
    section = evaluated.model.config.sweep
    criterion = criterion or section.criterion
    thresholds = thresholds if thresholds is not None else section.thresholds
    reference = float(evaluated.outputs.gflops[-1]) if reference_gflops is None else reference_gflops
    if not 0 < reference < float("inf"):
        raise UsageError(f"the reference cost must be a number above 0 GFLOPs, found {reference:g}")
    scores = score_outputs(evaluated.outputs, find_criterion(criterion))
    curve = sweep_all(scores)
    chosen = None if thresholds == "all" else sweep_thresholds(scores, thresholds)
    result = curve if chosen is None else chosen
    points = [dataclasses.asdict(point) for point in result.points()]
    report = {
        "criterion": criterion,
        "split": evaluated.split.name,
        "points": points,
        "area": trapezoid_area(result.gflops, result.accuracy),
        "dominated_area": dominated_area(result.gflops, result.accuracy, reference),
        "reference_gflops": reference,
        "plain_gflops": evaluated.cost.plain_gflops,
        "exits": _each_exit(evaluated),
    }
    folder, name = evaluated.folder, _sweep_name(evaluated)
    write_json(folder / f"{name}.json", report)
    shares = [f"share_{index + 1}" for index in range(evaluated.outputs.num_exits)]
    write_csv(
        folder / f"{name}.csv",
        ["threshold", "accuracy", "gflops", *shares],
        np.column_stack([result.thresholds, result.accuracy, result.gflops, result.exit_shares]).tolist(),
    )
    marks = ReferenceMarks(
        gflops=tuple(cost.alone_gflops for cost in evaluated.cost.exits),
        accuracy=tuple(evaluated.outputs.exit_accuracies().tolist()),
        plain_gflops=evaluated.cost.plain_gflops,
    )
    title = f"{model_summary(evaluated.model.config.model)}\n{evaluated.split.name}, {len(evaluated.split)} images"
    draw_sweep(curve, chosen, marks, title, folder / f"{name}.png")
    return Report(_sweep_text(evaluated, scores, result, report), report)


def _sweep_text(evaluated: Evaluated, scores: ExitScores, result: Sweep, report: dict[str, Any]) -> str:
    exits = evaluated.outputs.num_exits
    shown = np.arange(len(result))
    if len(result) > _ROWS_SHOWN:  # evenly spaced in cost
        targets = np.linspace(result.gflops[0], result.gflops[-1], _ROWS_SHOWN)
        shown = np.unique([int(np.abs(result.gflops - target).argmin()) for target in targets])
    rows = [
        [
            f"{result.thresholds[i]:.4g}",
            f"{100 * result.accuracy[i]:.2f}",
            f"{result.gflops[i]:.4f}",
            *(f"{100 * share:.1f}" for share in result.exit_shares[i]),
        ]
        for i in shown
    ]
    shares = [f"{exit_name(index, exits)} (%)" for index in range(exits)]
    unit = scores.criterion.unit
    lines = [
        _heading(evaluated),
        format_table([f"threshold ({unit})", "accuracy (%)", "GFLOPs", *shares], rows),
    ]
    if len(shown) < len(result):
        lines.append(f"{len(shown)} of {len(result)} operating points are shown; {_sweep_name(evaluated)}.csv has all")
    lines += [
        f"area under the points: {report['area']:.4f} % x GFLOPs; area dominated up to "
        f"{report['reference_gflops']:.4f} GFLOPs: {report['dominated_area']:.4f} % x GFLOPs",
        f"the plain network costs {evaluated.cost.plain_gflops:.4f} GFLOPs; "
        f"table and picture: {evaluated.folder / _sweep_name(evaluated)}.csv, .json and .png",
    ]
    return "\n".join(lines)


def _sweep_name(evaluated: Evaluated) -> str:
    """`sweep`, or for another split than `val` a name of its own, so that neither overwrites the other."""
    return "sweep" if evaluated.split.name == "val" else f"sweep-{evaluated.split.name}"


def _heading(evaluated: Evaluated) -> str:
    model, split = evaluated.model, evaluated.split
    return f"{model_summary(model.config.model)}, epoch {model.epoch}; {split.name}: {len(split)} images"


def _each_exit(evaluated: Evaluated) -> list[dict[str, Any]]:
    """Accuracy and cost of each exit where every image is asked there."""
    accuracies = evaluated.outputs.exit_accuracies().tolist()
    return [
        {"after": cost.after, "accuracy": accuracy, "gflops": cost.gflops, "alone_gflops": cost.alone_gflops}
        for cost, accuracy in zip(evaluated.cost.exits, accuracies, strict=True)
    ]


def _exit_labels(evaluated: Evaluated) -> list[str]:
    costs = evaluated.cost.exits
    return [f"{exit_name(index, len(costs))}, after {cost.after}" for index, cost in enumerate(costs)]


def _fingerprint(weights: Path, manifest: Path, split: PreparedSplit) -> str:
    """Names the weights and the images, so that kept answers are never taken for those of others."""
    digest = hashlib.sha256()
    for path in (weights, manifest):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update(split.name.encode() + split.rows.tobytes())
    return digest.hexdigest()
