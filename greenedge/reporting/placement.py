"""The result of `greenedge place` as tables, JSON, CSV and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from greenedge.exits.placement import Placement, ScoredBlocks
from greenedge.exits.placement_scores import CRITERION
from greenedge.reporting.blocks import Block, CommandResult, Table, percent_span
from greenedge.reporting.placement_plot import plot_placement

_SHOWN_SETS, _KEPT_SETS = 5, 50
_KEYS = ["after", "accuracy", "backbone_gflops", "head_gflops", "alone_gflops", "searched", "chosen"]


@dataclass(frozen=True)
class PlacementSummary:
    """What a placement is about.

    Attributes:
        model: the backbone, such as `resnet18`.
        epoch: epochs of training behind it.
        train_images: that the probes were fitted on.
        split: name of the split that sets of blocks were compared on.
        images: how many it has.
        head: of the exits.
    """

    model: str
    epoch: int
    train_images: int
    split: str
    images: int
    head: str


def present_placement(summary: PlacementSummary, found: Placement) -> CommandResult[Placement]:
    """The accuracy of every block's probe, the sets of blocks that do best, and what the chosen one gains."""
    rows = _block_rows(found)
    gain = found.gain
    json = {
        "goal": {"budget_gflops": found.goal.budget_gflops, "max_exits": found.goal.max_exits},
        "head": summary.head,
        "criterion": CRITERION,
        "train_images": summary.train_images,
        "split": summary.split,
        "images": summary.images,
        "plain_gflops": found.candidates.plain_gflops,
        "plain_accuracy": float(found.candidates.accuracy[-1]),
        "blocks": [dict(zip(_KEYS, row, strict=True)) for row in rows],
        "chosen": _set_json(found, found.chosen),
        "runner_up": None if found.runner_up is None else _set_json(found, found.runner_up),
        "standard_error": found.best.standard_error,
        "half_chosen_score": found.half_chosen_score,
        "gain": {
            "accuracy": gain.accuracy,
            "gflops": gain.gflops,
            "over_static": gain.over_static.value,
            "over_static_interval": gain.over_static.interval.ends,
            "over_backbone": None if gain.over_backbone is None else gain.over_backbone.value,
            "over_backbone_interval": None if gain.over_backbone is None else gain.over_backbone.interval.ends,
        },
        "exhaustive": found.exhaustive,
        "compared": len(found.sets),
        "sets": [_set_json(found, each) for each in found.sets[:_KEPT_SETS]],
    }
    figure = plot_placement(found, summary.split, f"{summary.model}, epoch {summary.epoch}")
    return CommandResult(found, tuple(_blocks(summary, found, rows)), json, Table(_KEYS, rows), figure)


def _block_rows(found: Placement) -> list[list[Any]]:
    each = found.candidates
    columns = (each.accuracy, each.backbone_gflops, each.head_gflops, each.standalone_gflops)
    return [
        [name, *map(float, numbers), block in found.searched, block in found.chosen.blocks]
        for block, (name, *numbers) in enumerate(zip(each.names, *columns, strict=False))
    ]


def _set_json(found: Placement, each: ScoredBlocks) -> dict[str, Any]:
    return {"after": list(found.names(each)), "score": each.score, "scores": list(each.scores)}


def _blocks(summary: PlacementSummary, found: Placement, rows: list[list[Any]]) -> list[Block]:
    each, budget = found.candidates, found.goal.budget_gflops
    goal = "the largest area up to the backbone's cost" if budget is None else f"the best within {budget:g} GFLOPs"
    marks = {True: "*", False: ""}
    table = [
        [name, f"{100 * accuracy:.2f}", f"{backbone:.4f}", f"{head:.4f}", f"{alone:.4f}", marks[chosen]]
        for name, accuracy, backbone, head, alone, _, chosen in rows
    ]
    table.append(["(classifier)", f"{100 * each.accuracy[-1]:.2f}", f"{each.backbone_gflops[-1]:.4f}"])
    table[-1] += [f"{each.head_gflops[-1]:.4f}", f"{each.plain_gflops:.4f}", ""]
    headers = ["after", "accuracy (%)", "GFLOPs up to it", f"{summary.head} head", "exit alone", "chosen"]
    return [
        f"{summary.model}, epoch {summary.epoch}; a linear classifier after each block, fitted on "
        f"{summary.train_images} training images and shown on {summary.images} {summary.split} images:",
        Table(headers, table),
        f"goal: {goal}, with at most {found.goal.max_exits} early exits; {_search(found)}",
        Table(["exits after", f"held-out {_unit(found)}", "standard error", "chosen"], _set_rows(found)),
        *_sentences(found),
    ]


def _search(found: Placement) -> str:
    how = "all of them" if found.exhaustive else "by forward selection with swaps"
    return (
        f"{len(found.sets)} sets of {len(found.searched)} blocks were compared ({how}): of those whose exit alone no "
        "other beats in both accuracy and cost"
    )


def _unit(found: Placement) -> str:
    return "area (% x GFLOPs)" if found.goal.budget_gflops is None else "accuracy (%)"


def _shown(found: Placement, score: float) -> str:
    return f"{score:.4f}" if found.goal.budget_gflops is None else f"{100 * score:.2f}"


def _set_rows(found: Placement) -> list[list[str]]:
    """The best sets, and the chosen one, which is among them or follows them."""
    shown = list(found.sets[:_SHOWN_SETS])
    if found.chosen not in shown:
        shown.append(found.chosen)
    return [
        [
            ", ".join(found.names(each)),
            _shown(found, each.score),
            _shown(found, each.standard_error),
            "*" if each == found.chosen else "",
        ]
        for each in shown
    ]


def _sentences(found: Placement) -> list[Block]:
    gain, budget = found.gain, found.goal.budget_gflops
    static, backbone = gain.over_static, gain.over_backbone
    where = "on average over the costs up to the backbone's" if budget is None else f"at {gain.gflops:.4f} GFLOPs"
    sentences = [
        f"chosen: {', '.join(found.names(found.chosen))}: the smallest set within one standard error of the best; what "
        f"is best on one half of the images gives {_shown(found, found.half_chosen_score)} on the other",
        f"{where} it gives {100 * static.value:+.2f} points over the best mix of single exits and the backbone (95 % "
        f"interval {percent_span(static.interval.low, static.interval.high)})",
    ]
    if backbone is not None:
        saved = 100 * (1 - gain.gflops / found.candidates.plain_gflops)
        sentences.append(
            f"against the backbone without exits, {100 * found.candidates.accuracy[-1]:.2f} % at "
            f"{found.candidates.plain_gflops:.4f} GFLOPs, it gives {100 * backbone.value:+.2f} points (95 % interval "
            f"{percent_span(backbone.interval.low, backbone.interval.high)}) for {saved:.0f} % less"
        )
    if static.interval.low <= 0:
        sentences.append("so that by these probes early exit is not shown to pay here")
    if found.runner_up is not None:
        sentences.append(
            f"runner-up: {', '.join(found.names(found.runner_up))}; heads say more than probes, so that training both "
            "decides"
        )
    return [*sentences]
