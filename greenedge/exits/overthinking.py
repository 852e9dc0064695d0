"""Images that an early exit gets right and the final one wrong (Kaya et al. 2019, "destructive overthinking")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenedge.exits.calibration import top_confidence
from greenedge.exits.outputs import ExitOutputs


@dataclass(frozen=True, eq=False)
class Overthinking:
    """The images that are lost on the way to the final exit.

    Attributes:
        images: int64 (K,), positions of the images that are right early and wrong at the end, the most confident first.
        exits: int64 (K,), the first exit that is right, counted from 0.
        early: int64 (K,), what it predicts, which is the label.
        final: int64 (K,), what the final exit predicts.
        by_class: int64 (C,), how many of each true class.
        class_sizes: int64 (C,), images of each true class.
    """

    images: np.ndarray
    exits: np.ndarray
    early: np.ndarray
    final: np.ndarray
    by_class: np.ndarray
    class_sizes: np.ndarray

    def __repr__(self) -> str:
        """How many images are lost, of how many."""
        return f"Overthinking({len(self.images)} of {self.class_sizes.sum()} images)"


def find_overthinking(outputs: ExitOutputs) -> Overthinking:
    """Finds them all, the most confident first: by the probability that the correct early exit gives its prediction."""
    correct = outputs.correct()
    lost = np.flatnonzero(correct[:-1].any(axis=0) & ~correct[-1])
    exits = correct[:-1, lost].argmax(axis=0) if len(lost) else lost
    order = np.argsort(-top_confidence(outputs.logits[exits, lost]), kind="stable") if len(lost) else lost
    lost, exits = lost[order], exits[order]
    classes = outputs.logits.shape[2]
    return Overthinking(
        images=lost,
        exits=exits,
        early=outputs.labels[lost],
        final=outputs.logits[-1, lost].argmax(axis=1),
        by_class=np.bincount(outputs.labels[lost], minlength=classes),
        class_sizes=np.bincount(outputs.labels, minlength=classes),
    )
