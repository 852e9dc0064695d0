"""Random outputs and the slow, obvious way to route images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import strategies as st

from greenedge.exits.confidence import Criterion
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import ExitScores


def random_outputs(seed: int, exits: int, images: int, classes: int, levels: int | None = None) -> ExitOutputs:
    """Random logits; with `levels`, only that many values, so that scores tie often."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=(exits, images, classes))
    if levels is not None:
        logits = random.integers(0, levels, size=logits.shape)
    gflops = np.cumsum(random.uniform(0.01, 1, exits))
    return ExitOutputs(logits.astype(np.float32), random.integers(0, classes, images), gflops)


def agreeing_outputs(seed: int, noise: tuple[float, ...], images: int = 400) -> ExitOutputs:
    """Exits that see the same truth, each with noise of its own."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, images)
    truth = 2 * np.eye(5)[labels]
    logits = np.stack([truth + random.normal(scale=each, size=truth.shape) for each in noise])
    return ExitOutputs(logits.astype(np.float32), labels, np.arange(1.0, len(noise) + 1))


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
    scores = criterion.uncertainty(outputs.logits).T.tolist()
    taken = []
    for chosen in thresholds:
        limits = [criterion.uncertainty_limit(float(threshold)) for threshold in chosen]
        taken.append([_first_below(image[:-1], limits) for image in scores])
    return taken


def _first_below(scores: Sequence[float], limits: Sequence[float]) -> int:
    for index, (score, limit) in enumerate(zip(scores, limits, strict=True)):
        if score < limit:
            return index
    return len(limits)


def graded_outputs(images: int = 20_000, seed: int = 0) -> ExitOutputs:
    """Images of graded difficulty and four exits of about 80, 89, 92 and 91.5 %, at the costs of the quickstart's.

    All exits see the same 10 blurred classes, each with some noise of its own, and the later ones through less of it.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, images)
    difficulty = random.normal(size=images)
    seen_by_all = random.normal(size=(images, 10))
    logits = []
    for skill, sureness in ((2.07, 1.5), (2.56, 1.8), (2.79, 2.2), (2.72, 2.5)):
        evidence = 0.85 * seen_by_all + 0.55 * random.normal(size=(images, 10))
        evidence[np.arange(images), labels] += np.maximum(0, 1.45 * skill - 1.3 * difficulty)
        logits.append(sureness * evidence)
    return ExitOutputs(np.stack(logits).astype(np.float32), labels, np.array([0.0518, 0.0850, 0.1187, 0.1459]))


def with_uncertainty(scores: ExitScores, uncertainty: np.ndarray) -> ExitScores:
    """The same answers with other scores, (E-1, N)."""
    return dataclasses.replace(scores, uncertainty=uncertainty, minima=np.minimum.accumulate(uncertainty, axis=0))


def shuffled_scores(scores: ExitScores, seed: int = 0) -> ExitScores:
    """Scores that say nothing: each exit's, given to the images by lot."""
    random = np.random.default_rng(seed)
    return with_uncertainty(scores, np.stack([random.permutation(each) for each in scores.uncertainty]))
