"""Random outputs and the slow, obvious way to route images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import strategies as st

from greenedge.exits.confidence import Criterion
from greenedge.exits.outputs import ExitOutputs


def random_outputs(seed: int, exits: int, images: int, classes: int, levels: int | None = None) -> ExitOutputs:
    """Random logits; with `levels`, only that many values, so that scores tie often."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=(exits, images, classes))
    if levels is not None:
        logits = random.integers(0, levels, size=logits.shape)
    gflops = np.cumsum(random.uniform(0.01, 1, exits))
    return ExitOutputs(logits.astype(np.float32), random.integers(0, classes, images), gflops)


small_outputs = st.builds(
    random_outputs,
    seed=st.integers(0, 2**31),
    exits=st.integers(1, 4),
    images=st.integers(1, 12),
    classes=st.integers(2, 5),
    levels=st.sampled_from([None, 2, 3]),
)


def route(outputs: ExitOutputs, criterion: Criterion, threshold: float) -> list[int]:
    """The exit that each image takes at a threshold that all early exits share."""
    return routes(outputs, criterion, [[threshold] * (outputs.num_exits - 1)])[0]


def routes(outputs: ExitOutputs, criterion: Criterion, thresholds: Iterable[Sequence[float]]) -> list[list[int]]:
    """For each set of thresholds, one an early exit, what each image takes: one image and one exit at a time."""
    scores = criterion.uncertainty(outputs.logits).astype(np.float64).T.tolist()
    taken = []
    for chosen in thresholds:
        limits = [criterion.limit(float(threshold)) for threshold in chosen]
        taken.append([_first_below(image[:-1], limits) for image in scores])
    return taken


def _first_below(scores: Sequence[float], limits: Sequence[float]) -> int:
    for index, (score, limit) in enumerate(zip(scores, limits, strict=True)):
        if score < limit:
            return index
    return len(limits)
