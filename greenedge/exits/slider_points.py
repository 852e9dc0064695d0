"""The operating points that a slider moves over: some of the exact ones, and a grid of one threshold for each exit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import ExitScores, OperatingPoint, Sweep

MOST_SHARED, MOST_GRID = 1000, 1000  # operating points, 2,000 together


@dataclass(frozen=True, eq=False)
class PointGrid:
    """Operating points of every combination of some thresholds of each early exit.

    Attributes:
        thresholds: of each early exit, in the criterion's unit: the first lets no image exit, and each later one more.
        points: one for each combination, the last exit's threshold moving fastest.
        start: the place of each exit's threshold that the grid was made around; None: around none.
    """

    thresholds: tuple[tuple[float, ...], ...]
    points: tuple[OperatingPoint, ...]
    start: tuple[int, ...] | None

    def __repr__(self) -> str:
        """The number of thresholds of each exit."""
        return f"PointGrid({' x '.join(str(len(each)) for each in self.thresholds)} thresholds)"


@dataclass(frozen=True)
class ImageDecisions:
    """What becomes of one image as sliders move.

    Attributes:
        shared: of each early exit, the first place on the shared slider from which on the image exits there, if it has
            come so far; one beyond the last where it never does.
        grid: likewise on the exit's own slider; None where there is no grid.
        predictions: of each exit.
        label: the true class.
    """

    shared: tuple[int, ...]
    grid: tuple[int, ...] | None
    predictions: tuple[int, ...]
    label: int


def image_decisions(
    scores: ExitScores, outputs: ExitOutputs, images: Sequence[int], shared: Sweep, grid: PointGrid | None
) -> dict[int, ImageDecisions]:
    """What becomes of some images at every place of the sliders.

    Args:
        scores: of E exits on N images.
        outputs: that they were made of.
        images: positions among the N.
        shared: the points of the shared slider, in its order: each place lets an exit take more images.
        grid: of one threshold for each exit.
    """
    limit_of = scores.criterion.uncertainty_limit
    limits = [limit_of(each) for each in shared.thresholds.tolist()]
    axes = None if grid is None else [[limit_of(each) for each in own] for own in grid.thresholds]
    answers = outputs.logits[:, list(images)].argmax(axis=2)
    found = {}
    for column, image in enumerate(images):
        own = scores.uncertainty[:, image]  # an image exits where this is below the limit
        found[image] = ImageDecisions(
            tuple(int(np.searchsorted(limits, each, side="right")) for each in own),
            None
            if axes is None
            else tuple(int(np.searchsorted(axis, each, side="right")) for axis, each in zip(axes, own, strict=True)),
            tuple(answers[:, column].tolist()),
            int(outputs.labels[image]),
        )
    return found


def some_points(curve: Sweep, most: int = MOST_SHARED) -> Sweep:
    """At most so many of the points of a curve, evenly spaced in cost, with both ends; each is as exact as before."""
    return curve if len(curve) <= most else curve.rows(curve.spread(most))


def point_grid(scores: ExitScores, around: Sequence[float] | None = None, most: int = MOST_GRID) -> PointGrid | None:
    """The operating points of a grid of thresholds, one axis for each early exit.

    The thresholds of an exit let even shares of all images be confident enough there, whether they reach it or not,
    from none to all.

    Args:
        scores: of E exits on N images.
        around: a threshold for each early exit, which the grid holds besides; None: none.
        most: points of the grid.

    Returns:
        None where there are fewer than two early exits, so that a shared threshold is all there is, or so many that no
        grid of at least three thresholds for each has so few points.
    """
    early_exits = scores.num_exits - 1
    if early_exits < 2:
        return None
    size = int(most ** (1 / early_exits) + 1e-9)
    if size < 3:
        return None

    axes, start = [], []
    for index, uncertainty in enumerate(scores.uncertainty):
        own = None if around is None else float(around[index])
        thresholds = _even_thresholds(scores, uncertainty, size, own)
        axes.append(thresholds)
        start.append(0 if own is None else thresholds.index(own))
    points = tuple(scores.operating_point(each) for each in itertools.product(*axes))
    return PointGrid(tuple(axes), points, None if around is None else tuple(start))


def _even_thresholds(scores: ExitScores, uncertainty: np.ndarray, size: int, own: float | None) -> tuple[float, ...]:
    """At most `size` thresholds of one exit, from that which lets none exit to that which lets all, and `own`."""
    criterion = scores.criterion
    never = criterion.uncertainty_limit(criterion.never_exit_threshold)
    ordered = np.sort(uncertainty)
    places = np.linspace(0, len(ordered), size - (own is not None)).round().astype(np.int64)[1:-1]
    limits = np.unique([*ordered[places], np.nextafter(ordered[-1], np.inf)])
    limits = limits[limits > max(never, float(ordered[0]))]  # those below let none exit, as `never` does
    thresholds = [criterion.never_exit_threshold, *criterion.threshold_of(limits).tolist()]
    if own is not None and own not in thresholds:
        thresholds.append(own)
    return tuple(sorted(thresholds, key=criterion.uncertainty_limit))
