"""Runs made up of random outputs, and their page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from greenedge.cost.table import ExitCost, NetworkCost
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy, SavedPolicy
from greenedge.reporting.page.analysis import analyse_run
from greenedge.reporting.page.content import ReportedRun, RunFacts
from greenedge.reporting.page.kept import KeptFiles
from greenedge.reporting.page.present import build_page
from greenedge.reporting.page.render import render_page
from greenedge.reporting.summary import RunSummary


def random_outputs(exits: int, images: int, classes: int, seed: int = 0) -> ExitOutputs:
    """Later exits see more of the true class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    logits = random.normal(size=(exits, images, classes)).astype(np.float32)
    for index in range(exits):
        logits[index, np.arange(images), labels] += 1.5 + index
    return ExitOutputs(logits, labels, np.linspace(0.1, 0.4, exits))


def cost_of(exits: int) -> NetworkCost:
    costs = np.linspace(0.1, 0.4, exits).tolist()
    shown = tuple(ExitCost(f"layer{index + 1}", each, 0.0, each, each, 1) for index, each in enumerate(costs))
    return NetworkCost(shown, costs[-1], 1, {})


def made_up_run(
    outputs: ExitOutputs,
    classes: Sequence[str] | None = None,
    name: str = "run",
    policy: ExitPolicy | None = None,
) -> ReportedRun:
    exits, images, count = outputs.logits.shape
    cost = cost_of(exits)
    summary = RunSummary("resnet18 with exits", 3, "val", images, "float32", cost)
    names = tuple(classes or (f"class {index}" for index in range(count)))
    facts = RunFacts(name, f"runs/{name}/best.safetensors", "0" * 64, (("data", name),), ("model: {}\n",), names)
    saved = None
    if policy is not None:
        saved = SavedPolicy(policy, tuple(each.after for each in cost.exits))
    pixels = np.random.default_rng(1).integers(0, 256, (images, 3, 8, 8), dtype=np.uint8)
    return analyse_run(outputs, summary, facts, KeptFiles("entropy", saved), (), lambda places: pixels[list(places)])


def write_page(path: Path, *runs: ReportedRun, title: str | None = None) -> Path:
    path.write_text(render_page(build_page(runs, None, title)), encoding="utf-8")
    return path
