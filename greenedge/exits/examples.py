"""Images to look at: the easiest, the hardest, and those that a network is wrong about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenedge.exits.calibration import top_confidence
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.overthinking import find_overthinking


@dataclass(frozen=True)
class Example:
    """One image, as one exit sees it.

    Attributes:
        image: its position among the N images.
        label: the true class.
        exit_index: counted from 0.
        prediction: of that exit.
        confidence: of that prediction, in [0, 1].
        final: what the final exit predicts.
    """

    image: int
    label: int
    exit_index: int
    prediction: int
    confidence: float
    final: int


@dataclass(frozen=True, eq=False)
class Examples:
    """A few images of each kind.

    Attributes:
        easiest: right at the first exit, the most confident first.
        hardest: right at no exit, those first to whose true class the final exit gives the least probability.
        confidently_wrong: wrong at the final exit, the most confident first.
        right_early: right at an early exit and wrong at the final one, the most confident early exit first.
    """

    easiest: tuple[Example, ...]
    hardest: tuple[Example, ...]
    confidently_wrong: tuple[Example, ...]
    right_early: tuple[Example, ...]


def pick_examples(outputs: ExitOutputs, count: int) -> Examples:
    """At most `count` images of each kind; what is alike keeps the order of the images.

    Args:
        outputs: of E exits on N images; what each exit goes by, where a policy has temperatures or an ensemble.
        count: images of each kind.
    """
    correct = outputs.correct()
    first, last = top_confidence(outputs.logits[0]), top_confidence(outputs.logits[-1])
    final = outputs.num_exits - 1

    easiest = _largest(first, correct[0], count)
    never: np.ndarray = np.logical_not(correct.any(axis=0))
    hardest = _largest(-_log_probability(outputs), never, count)
    wrong = _largest(last, ~correct[-1], count)
    lost = find_overthinking(outputs)
    early = zip(lost.images[:count].tolist(), lost.exits[:count].tolist(), strict=True)
    return Examples(
        tuple(_example(outputs, image, 0) for image in easiest),
        tuple(_example(outputs, image, final) for image in hardest),
        tuple(_example(outputs, image, final) for image in wrong),
        tuple(_example(outputs, image, exit_index) for image, exit_index in early),
    )


def _largest(values: np.ndarray, among: np.ndarray, count: int) -> list[int]:
    """Positions of the largest values among some images."""
    places = np.flatnonzero(among)
    found: list[int] = places[np.argsort(-values[places], kind="stable")[:count]].tolist()
    return found


def _log_probability(outputs: ExitOutputs) -> np.ndarray:
    """float64 (N,): the log probability that the final exit gives to the true class."""
    logits = outputs.logits[-1].astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: np.ndarray = shifted[np.arange(len(logits)), outputs.labels] - np.log(np.exp(shifted).sum(axis=1))
    return found


def _example(outputs: ExitOutputs, image: int, exit_index: int) -> Example:
    logits = outputs.logits[exit_index, image]
    return Example(
        image=image,
        label=int(outputs.labels[image]),
        exit_index=exit_index,
        prediction=int(logits.argmax()),
        confidence=float(top_confidence(logits)),
        final=int(outputs.logits[-1, image].argmax()),
    )
