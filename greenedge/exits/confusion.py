"""Which classes each exit takes for which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenedge.exits.outputs import ExitOutputs


@dataclass(frozen=True, eq=False)
class Confusion:
    """The confusion matrices of E exits between C classes.

    Attributes:
        counts: int64 (E, C, C), images of each true class (rows) that were predicted as each class (columns).
    """

    counts: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """int64 (C,): images of each class."""
        images: np.ndarray = self.counts[0].sum(axis=1)
        return images

    @property
    def class_shares(self) -> np.ndarray:
        """float64 (E, C, C): `counts` as shares of the true class's images; 0 for a class without images."""
        shares: np.ndarray = self.counts / np.maximum(self.images, 1)[:, None]
        return shares

    def class_accuracies(self) -> np.ndarray:
        """float64 (E, C): the accuracy of each exit on each class, in [0, 1]; NaN for a class without images."""
        right = np.diagonal(self.counts, axis1=1, axis2=2)
        images = self.images
        return np.where(images > 0, right / np.maximum(images, 1), np.nan)

    def most_confused(self, top: int = 5) -> list[tuple[int, int]]:
        """The pairs (true, predicted) of classes that the final exit confuses most, the most frequent first."""
        wrong = self.counts[-1].copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:top]
        pairs = [divmod(int(each), len(wrong)) for each in order]
        return [(true, predicted) for true, predicted in pairs if wrong[true, predicted] > 0]


def count_confusions(outputs: ExitOutputs) -> Confusion:
    """Counts the true and the predicted class of each image, if every image exited at each exit."""
    exits, _, classes = outputs.logits.shape
    predicted = outputs.logits.argmax(axis=2)
    cells = outputs.labels * classes + predicted
    counts = np.stack([np.bincount(each, minlength=classes * classes) for each in cells])
    return Confusion(counts.reshape(exits, classes, classes))
