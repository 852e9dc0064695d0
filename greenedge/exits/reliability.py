"""How often each exit is right where it is so confident: the bins behind the calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenedge.exits.calibration import top_confidence
from greenedge.exits.outputs import ExitOutputs

BINS = 15  # as of the expected calibration error


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of equal width of the confidence, (0, 1/B], (1/B, 2/B], ...

    Attributes:
        images: int64 (E, B), how many each exit is so confident of.
        confidence: float64 (E, B), their mean; NaN where there is none.
        accuracy: float64 (E, B), the share of them that is right; NaN likewise.
    """

    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def __repr__(self) -> str:
        exits, bins = self.images.shape
        return f"Reliability({exits} exits, {bins} bins)"


def find_reliability(outputs: ExitOutputs, bins: int = BINS) -> Reliability:
    """Confidence and accuracy of each exit by bins of its confidence.

    Args:
        outputs: of E exits on N images; what each exit goes by, where a policy has temperatures or an ensemble.
        bins: B.
    """
    correct = outputs.correct()
    images, confidences, rights = [], [], []
    for logits, right in zip(outputs.logits, correct, strict=True):
        confidence = top_confidence(logits).astype(np.float64)
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
        count = np.bincount(place, minlength=bins)
        images.append(count)
        confidences.append(np.bincount(place, weights=confidence, minlength=bins))
        rights.append(np.bincount(place, weights=right, minlength=bins))
    counts = np.stack(images)
    some = np.where(counts > 0, counts, np.nan)
    return Reliability(counts, np.stack(confidences) / some, np.stack(rights) / some)
