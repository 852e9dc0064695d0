"""The result of `greenedge eval` as a table, JSON and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from greenedge.exits.evaluation import PolicyEvaluation, TopPredictions
from greenedge.reporting.blocks import Block, CommandResult, Table, percent_span, span
from greenedge.reporting.summary import RunSummary

_EXIT_KEYS = ["exit", "accuracy", "gflops", "alone_gflops", "share"]


def present_evaluation(summary: RunSummary, found: PolicyEvaluation) -> CommandResult[PolicyEvaluation]:
    """Accuracy and cost of each exit, and of the network under its policy."""
    point = found.point
    exits = summary.exit_records(found.exit_accuracies)
    rows = [
        [label, each["accuracy"], each["gflops"], each["alone_gflops"], rate]
        for label, each, rate in zip(summary.exit_labels, exits, point.exit_shares, strict=True)
    ]
    json = {
        "split": summary.split,
        "images": summary.images,
        **dataclasses.asdict(found.policy),
        "precision": summary.precision,
        "accuracy": point.accuracy,
        "accuracy_interval": found.accuracy_interval.ends,
        "gflops": point.gflops,
        "gflops_interval": found.gflops_interval.ends,
        "exit_shares": list(point.exit_shares),
        "exits": exits,
        "plain_gflops": summary.cost.plain_gflops,
        "epoch": summary.epoch,
    }
    blocks: list[Block] = [summary.heading, _table(rows), *_sentences(summary, found)]
    return CommandResult(found, tuple(blocks), json, Table(_EXIT_KEYS, rows))


def predictions_table(
    rows: np.ndarray,
    paths: Sequence[str],
    labels: np.ndarray,
    class_labels: Mapping[int, int | str],
    top: TopPredictions,
    exit_indices: np.ndarray,
) -> Table:
    """One line per image: what it is, and what was predicted at the exit that it took.

    Args:
        rows: int64 (N,), of the prepared data set.
        paths: the files that the images come from.
        labels: int64 (N,).
        class_labels: class index -> label.
        top: of the same images.
        exit_indices: int64 (N,), counted from 0.
    """
    columns = (rows.tolist(), paths, labels.tolist(), top.classes.tolist(), top.probability, exit_indices.tolist())
    ranks = [f"top_{rank + 1}" for rank in range(top.classes.shape[1])]
    return Table(
        ["row", "file", "label", "prediction", "probability", "exit", *ranks],
        [
            [
                row,
                path,
                class_labels[label],
                class_labels[best[0]],
                f"{probability:.6f}",
                index + 1,
                *map(class_labels.get, best),
            ]
            for row, path, label, best, probability, index in zip(*columns, strict=True)
        ],
    )


def _table(rows: Sequence[Sequence[float | str]]) -> Table:
    shown = [
        [label, f"{100 * accuracy:.2f}", f"{gflops:.4f}", f"{alone:.4f}", f"{100 * rate:.1f}"]
        for label, accuracy, gflops, alone, rate in rows
    ]
    return Table(["exit", "accuracy (%)", "GFLOPs", "standalone GFLOPs", "exit rate (%)"], shown)


def _sentences(summary: RunSummary, found: PolicyEvaluation) -> list[str]:
    described = str(found.policy)
    if found.effect is not None and found.effect != described:
        described += f", at which {found.effect}"
    accuracy, gflops = found.accuracy_interval, found.gflops_interval
    return [
        f"{described}: {100 * found.accuracy:.2f} % at {found.gflops:.4f} GFLOPs per image; the backbone without exits "
        f"costs {summary.cost.plain_gflops:.4f}",
        f"95 % intervals over images: {percent_span(accuracy.low, accuracy.high)} %, "
        f"{span(gflops.low, gflops.high, 4)} GFLOPs",
    ]
