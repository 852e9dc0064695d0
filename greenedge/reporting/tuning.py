"""The result of `greenedge tune` as a table, JSON and a figure."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from greenedge.exits.bootstrap import Interval
from greenedge.exits.exit_rules import ComparedRule
from greenedge.exits.policy_choice import PolicyCandidate, TuneResult
from greenedge.exits.sweep import OperatingPoint
from greenedge.reporting.blocks import CommandResult, Table
from greenedge.reporting.summary import RunSummary
from greenedge.reporting.tune_plot import plot_tuning


def present_tuning(path: Path, known: RunSummary, shown: RunSummary, found: TuneResult) -> CommandResult[TuneResult]:
    """The chosen policies, what they do on the images chosen on and on those shown, and the figure.

    Args:
        path: the policy's file.
        known: the network on the images that the policies were chosen on.
        shown: on the other images; the same where there are none.
        found: the policies.
    """
    difference = found.difference
    json = {
        "policy": str(path),
        "goal": dataclasses.asdict(found.goal),
        "chosen": found.kind,
        "choose_on": known.split,
        "precision": known.precision,
        "compared": [
            {
                "criterion": each.rule.criterion,
                "ensemble": each.rule.ensemble,
                "accuracy": each.accuracy,
                "gflops": each.gflops,
                "over_margin": None if each.over_margin is None else dataclasses.asdict(each.over_margin),
            }
            for each in found.compared
        ],
        "policies": {kind: _candidate_json(each) for kind, each in found.candidates.items()},
        "per_exit_less_shared": None
        if difference is None
        else {
            "accuracy": difference.accuracy.value,
            "accuracy_interval": difference.accuracy.interval.ends,
            "gflops": difference.gflops.value,
            "gflops_interval": difference.gflops.interval.ends,
        },
    }
    figure = plot_tuning(found, known.split, shown.split, f"{shown.model}, epoch {shown.epoch}")
    return CommandResult(found, tuple(_blocks(known, shown, found)), json, figure=figure)


def _candidate_json(candidate: PolicyCandidate) -> dict[str, Any]:
    def point(each: OperatingPoint) -> dict[str, Any]:
        return {"accuracy": each.accuracy, "gflops": each.gflops, "exit_shares": list(each.exit_shares)}

    return {
        **dataclasses.asdict(candidate.policy),
        "chosen_on": point(candidate.chosen_on),
        "val": point(candidate.shown),
    }


def _blocks(known: RunSummary, shown: RunSummary, found: TuneResult) -> list[Table | str]:
    rows = []
    for kind, each in found.candidates.items():
        points = {known.split: each.chosen_on, shown.split: each.shown}  # one column where both are the same images
        numbers = [text for point in points.values() for text in (f"{100 * point.accuracy:.2f}", f"{point.gflops:.4f}")]
        rows.append([kind, *numbers, *(f"{100 * rate:.1f}" for rate in each.shown.exit_shares)])
    units = [f"{split} {unit}" for split in dict.fromkeys((known.split, shown.split)) for unit in ("(%)", "GFLOPs")]
    rates = [f"{name} (%)" for name in known.exit_names]
    blocks: list[Table | str] = [
        f"{known.heading}, which the policies were chosen on",
        f"goal: {found.goal}",
        *_compared_blocks(known, found),
        Table(["thresholds", *units, *rates], rows),
        *(f"{kind}: {each.policy}" for kind, each in found.candidates.items()),
    ]
    if found.difference is not None:
        accuracy, gflops = found.difference.accuracy, found.difference.gflops
        low, high = 100 * accuracy.interval.low, 100 * accuracy.interval.high
        noise = ", within noise" if low <= 0 <= high else ""
        blocks.append(
            f"per-exit minus shared on {shown.split}: {100 * accuracy.value:+.2f} points (95 % interval {low:+.2f} to "
            f"{high:+.2f}{noise}) at {gflops.value:+.4f} GFLOPs"
        )
    blocks += [f"{kind} thresholds, for comparison: {why}" for kind, why in found.unreached.items()]
    if known.split == "val":
        blocks.append("the thresholds were chosen on the validation images themselves, so their numbers flatter")
    return blocks


def _compared_blocks(known: RunSummary, found: TuneResult) -> list[Table | str]:
    """What thresholds could have been compared with, on images that nothing was fitted on."""
    if not found.compared:
        return []
    rows = [
        [str(each.rule), f"{100 * each.accuracy:.2f}", f"{each.gflops:.4f}", "*" if each.rule == found.rule else ""]
        for each in found.compared
    ]
    return [
        f"one threshold, fitted on four fifths of the {known.split} images and shown on the last fifth, five times:",
        Table(["criterion", "accuracy (%)", "GFLOPs", "chosen"], rows),
        *(_over_margin_sentence(each, found) for each in found.compared if each.over_margin is not None),
    ]


def _over_margin_sentence(each: ComparedRule, found: TuneResult) -> str:
    """Whether a learned rule beats margin, and so could be chosen."""
    assert each.over_margin is not None
    value, error = each.over_margin.value, each.over_margin.standard_error
    numbers = f"{100 * value:+.2f} points of accuracy", f"standard error {100 * error:.2f}"
    if found.goal.better_by == "gflops":
        numbers = f"{value:+.5f} GFLOPs saved", f"standard error {error:.5f}"
    verdict = "more than one standard error" if each.over_margin.clear else "not more than one, so margin is preferred"
    margin = "margin, ensemble" if each.rule.ensemble else "margin"
    return f"{each.rule} minus {margin}: {numbers[0]} ({numbers[1]}), {verdict}"


def few_images_note(summary: RunSummary, interval: Interval) -> str:
    """How far off accuracies of few images can be."""
    return (
        f"note: {summary.images} {summary.split} images are few to choose on: of the final exit's accuracy they say no "
        f"more than that it lies between {100 * interval.low:.0f} and {100 * interval.high:.0f} %; set more aside "
        "(data.calibration_fraction) where there are more"
    )
