"""The result of `greenedge study` as tables, JSON, CSV and a figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenedge.reporting.blocks import Block, CommandResult, Table
from greenedge.reporting.names import exit_name
from greenedge.reporting.study_plot import plot_study
from greenedge.training.study import StudiedNetwork, Study

_KEYS = ["run", "block", "similarity", "probe_accuracy", "stitched_accuracy", "effective_rank"]


@dataclass(frozen=True)
class StudySummary:
    """What a study is about.

    Attributes:
        runs: their names.
        models: what each is, such as `resnet18 with exits after layer1 (light)`.
        train_images: that probes and stitches were fitted on.
        split: name of the split that is spoken of.
        images: how many of it.
    """

    runs: tuple[str, ...]
    models: tuple[str, ...]
    train_images: int
    split: str
    images: int


def present_study(summary: StudySummary, found: Study) -> CommandResult[Study]:
    """Each measure by block, one column a run, and how hard each exit pulls at each block."""
    rows: list[list[Any]] = []
    for run, network, similar in zip(summary.runs, found.networks, found.similarity[0], strict=True):
        measures = (similar, network.probe_accuracy, network.stitched_accuracy, network.effective_rank)
        rows += [[run, *row] for row in zip(found.blocks, *(_or_null(each.tolist()) for each in measures), strict=True)]
    json = {
        "reference": summary.runs[0],
        "split": summary.split,
        "images": summary.images,
        "train_images": summary.train_images,
        "blocks": list(found.blocks),
        "runs": [
            _run_json(*each)
            for each in zip(summary.runs, summary.models, found.networks, found.similarity[0], strict=True)
        ],
        "similarity": found.similarity.tolist(),
    }
    title = f"{summary.split}, {summary.images} images; reference: {summary.runs[0]}"
    figure = plot_study(found, summary.runs, title)
    return CommandResult(found, tuple(_blocks(summary, found)), json, Table(_KEYS, rows), figure)


def _run_json(run: str, model: str, network: StudiedNetwork, similar: np.ndarray) -> dict[str, Any]:
    gradients = network.gradients
    pairs = zip(network.exits, gradients.norms.tolist(), gradients.cosines.tolist(), strict=True)
    return {
        "run": run,
        "model": model,
        "accuracy": network.accuracy.tolist(),
        "similarity": similar.tolist(),
        "probe_accuracy": network.probe_accuracy.tolist(),
        "stitched_accuracy": _or_null(network.stitched_accuracy.tolist()),
        "effective_rank": network.effective_rank.tolist(),
        "gradients": [
            {"after": after, "norms": _or_null(norms), "cosines": _or_null(cosines)} for after, norms, cosines in pairs
        ],
    }


def _or_null(numbers: Sequence[float]) -> list[float | None]:
    return [None if np.isnan(each) else each for each in numbers]


def _blocks(summary: StudySummary, found: Study) -> list[Block]:
    headers = ["block", *summary.runs]

    def by_block(cell: Callable[[int, int], str]) -> Table:
        runs = range(len(found.networks))
        return Table(headers, [[name, *(cell(run, block) for run in runs)] for block, name in enumerate(found.blocks)])

    def percent(measure: str) -> Table:
        return by_block(lambda run, block: _percent(getattr(found.networks[run], measure)[block]))

    blocks: list[Block] = [
        f"{summary.images} {summary.split} images; probes and stitches are fitted on {summary.train_images} of train",
        _accuracy_table(summary, found),
        f"linear CKA with {summary.runs[0]} after each block (1: alike but for rotation and scale; another seed of it "
        "shows what chance does):",
        by_block(lambda run, block: f"{found.similarity[0, run, block]:.3f}"),
        "accuracy of a linear classifier after each block (%):",
        percent("probe_accuracy"),
        f"accuracy of {summary.runs[0]} that goes on from a block's features through a fitted 1 x 1 convolution (%):",
        percent("stitched_accuracy"),
        "effective rank of the channels after each block:",
        by_block(lambda run, block: f"{found.networks[run].effective_rank[block]:.1f}"),
    ]
    for run, network in zip(summary.runs, found.networks, strict=True):
        if len(network.exits) > 1:
            blocks += [
                f"{run}: norm of each exit's gradient by block, and its cosine with that of the final exit:",
                _gradient_table(found.blocks, network),
            ]
    return blocks


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f}"


def _accuracy_table(summary: StudySummary, found: Study) -> Table:
    rows = []
    for run, model, network in zip(summary.runs, summary.models, found.networks, strict=True):
        rows.append([run, model, ", ".join(f"{100 * each:.1f}" for each in network.accuracy)])
    return Table(["run", "network", "accuracy of its exits (%)"], rows)


def _gradient_table(blocks: Sequence[str], network: StudiedNetwork) -> Table:
    norms, cosines = network.gradients.norms.numpy(), network.gradients.cosines.numpy()
    names = [exit_name(index, len(norms)) for index in range(len(norms))]
    headers = ["block", *names, *(f"cosine, {name}" for name in names[:-1])]
    rows = []
    for block, name in enumerate(blocks):
        numbers = [(each[block], "{:.4f}") for each in norms] + [(each[block], "{:+.2f}") for each in cosines[:-1]]
        rows.append([name, *("" if np.isnan(number) else form.format(number) for number, form in numbers)])
    return Table(headers, rows)
