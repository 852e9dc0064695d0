"""`greenedge eval`: accuracy and cost of each exit, and of all together under one policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from greenedge.data.label_maps import Label
from greenedge.data.prepared import image_paths
from greenedge.errors import UsageError
from greenedge.exits.bootstrap import accuracy_interval, bootstrap_points, bootstrap_weights, interval
from greenedge.exits.confidence import describe_effect
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep import ExitScores, score_outputs
from greenedge.files import write_json
from greenedge.reporting.tables import format_table, write_csv
from greenedge.workflows.labels import class_labels, unchecked_labels
from greenedge.workflows.outputs import EvaluatedRun
from greenedge.workflows.policies import PolicyOptions, resolve_policy
from greenedge.workflows.report import Report

_TOP = 5  # classes named for each image in the CSV


def evaluate(evaluated: EvaluatedRun, options: PolicyOptions, labels_map: Path | None = None) -> Report:
    """Accuracy and cost of each exit, and of all of them together under one policy, with 95 % intervals.

    Args:
        evaluated: a network's answers.
        options: when images leave.
        labels_map: a map from class indices to the labels of `predictions-<split>.csv`; None: the data set's own.

    Raises:
        UsageError: the policy is none for this network.
        DataError: the map cannot be used.
    """
    labels = class_labels(evaluated.model.classes, labels_map)
    policy = resolve_policy(evaluated.model, options)
    if policy.precision not in (None, evaluated.precision):
        raise UsageError(
            f"{options.policy}: was chosen in {policy.precision}, and the outputs are {evaluated.precision}"
        )
    scores = score_outputs(evaluated.outputs, policy.get_criterion(), policy.temperatures)
    point = scores.operating_point(policy.thresholds)
    resampled = bootstrap_points(scores, [policy.thresholds], bootstrap_weights(len(evaluated.split)))
    accuracy = accuracy_interval(point.accuracy, len(evaluated.split), resampled.accuracy[:, 0])
    gflops = interval(resampled.gflops[:, 0])
    exits = evaluated.each_exit()
    result = {
        "split": evaluated.split.name,
        "images": len(evaluated.split),
        **dataclasses.asdict(policy),
        "precision": evaluated.precision,
        "accuracy": point.accuracy,
        "accuracy_interval": [accuracy.low, accuracy.high],
        "gflops": point.gflops,
        "gflops_interval": [gflops.low, gflops.high],
        "exit_shares": list(point.exit_shares),
        "exits": exits,
        "plain_gflops": evaluated.cost.plain_gflops,
        "epoch": evaluated.model.epoch,
    }
    each_exit = [
        [name, e["accuracy"], e["gflops"], e["alone_gflops"], share]
        for name, e, share in zip(evaluated.exit_labels, exits, point.exit_shares, strict=True)
    ]
    rows = [
        [name, f"{100 * right:.2f}", f"{cost:.4f}", f"{alone:.4f}", f"{100 * share:.1f}"]
        for name, right, cost, alone, share in each_exit
    ]
    headers = ["exit", "accuracy (%)", "GFLOPs", "GFLOPs alone", "leave here (%)"]
    write_csv(
        evaluated.folder / f"eval-{evaluated.split.name}.csv",
        ["exit", "accuracy", "gflops", "alone_gflops", "share"],
        each_exit,
    )
    write_json(evaluated.folder / f"eval-{evaluated.split.name}.json", result)
    _write_predictions(evaluated, scores, policy, labels)
    effect = describe_effect(policy.criterion, policy.thresholds, len(labels), evaluated.outputs.num_exits)
    described = str(policy)
    if effect is not None and effect != described:
        described += f", at which {effect}"
    text = "\n".join(
        [
            evaluated.heading,
            format_table(headers, rows),
            f"{described}: {100 * point.accuracy:.2f} % at {point.gflops:.4f} GFLOPs an image; the plain "
            f"network costs {evaluated.cost.plain_gflops:.4f}",
            f"95 % intervals over images: {100 * accuracy.low:.2f} to {100 * accuracy.high:.2f} %, {gflops.low:.4f} to "
            f"{gflops.high:.4f} GFLOPs",
        ]
    )
    note = unchecked_labels(evaluated.model.classes, labels_map, labels)
    return Report(text if note is None else f"{text}\n{note}", result)


def _write_predictions(
    evaluated: EvaluatedRun, scores: ExitScores, policy: ExitPolicy, labels: Mapping[int, Label]
) -> None:
    """`predictions-<split>.csv`: what each image is, and what was predicted at the exit that it took, from 1."""
    split, logits = evaluated.split, evaluated.outputs.logits
    exits = scores.exit_indices(policy.thresholds)
    taken = logits[exits, np.arange(len(exits))]
    temperatures = np.array([policy.temperature(index) for index in range(len(logits))], dtype=np.float32)
    probabilities = torch.softmax(torch.from_numpy(taken / temperatures[exits, None]), dim=1).numpy()
    best = np.argsort(-taken, axis=1, kind="stable")[:, :_TOP]
    paths = image_paths(split) or [""] * len(split)
    columns = (split.rows.tolist(), paths, evaluated.outputs.labels.tolist(), best.tolist(), exits.tolist())
    rows = [
        [row, path, labels[label], labels[top[0]], f"{sure[top[0]]:.6f}", exit_index + 1, *map(labels.get, top)]
        for row, path, label, top, exit_index, sure in zip(*columns, probabilities, strict=True)
    ]
    ranks = [f"top_{place + 1}" for place in range(best.shape[1])]
    headers = ["row", "file", "label", "prediction", "probability", "exit", *ranks]
    write_csv(evaluated.folder / f"predictions-{split.name}.csv", headers, rows)
