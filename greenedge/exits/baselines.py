"""What early exit is to be measured against: fixed exits, a mix of them, and an oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenedge.exits.bootstrap import Interval, ResampledCurve
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import OperatingPoint, Sweep


@dataclass(frozen=True)
class Advantage:
    """The place of a curve that lies furthest above what fixed exits give at the same cost.

    Attributes:
        accuracy: of the curve there less that of the fixed exits, in [-1, 1].
        gflops: the cost there.
    """

    accuracy: float
    gflops: float


@dataclass(frozen=True)
class FoundAdvantage:
    """What a curve gives over fixed exits at the same cost.

    Attributes:
        largest: where it gives most on these images.
        interval: of the most; None where there is no early exit.
    """

    largest: Advantage
    interval: Interval | None

    @property
    def pays(self) -> bool:
        """Whether more than fixed exits give is beyond doubt."""
        return self.interval is not None and self.interval.low > 0


def oracle_point(outputs: ExitOutputs) -> OperatingPoint:
    """Accuracy and cost of an oracle that exits at the first correct exit, and runs everything where none is."""
    correct = outputs.correct()
    taken = np.where(correct.any(axis=0), correct.argmax(axis=0), outputs.num_exits - 1)
    shares = np.bincount(taken, minlength=outputs.num_exits) / len(taken)
    return OperatingPoint((), float(correct.any(axis=0).mean()), tuple(shares.tolist()), float(shares @ outputs.gflops))


def static_mixture(gflops: np.ndarray, standalone_gflops: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """float64 (G,): the best expected accuracy at each cost without looking at the image.

    Each image is given to one exit, alone in its network, at random: the upper concave hull of the fixed exits' points.
    NaN below the cheapest of them.

    Args:
        gflops: float (G,), costs asked for.
        standalone_gflops: float (E,), of each exit if it were the only one.
        accuracies: float (E,), of each exit.
    """
    costs, heights = _hull(standalone_gflops, accuracies)
    return np.where(gflops < costs[0] * (1 - 1e-9), np.nan, np.interp(gflops, costs, heights))


def gains_over_mixture(
    accuracy: np.ndarray, gflops: np.ndarray, standalone_gflops: np.ndarray, accuracies: np.ndarray
) -> np.ndarray:
    """float64 (B, P): accuracy minus that of the mix at the same cost, which is made anew on every resample.

    Args:
        accuracy: float (B, P), of P points on B resamples.
        gflops: float (B, P), their costs, none below the cheapest fixed exit but by rounding.
        standalone_gflops: float (E,), of each exit if it were the only one.
        accuracies: float (B, E), of each exit.
    """
    costs = np.maximum(gflops.astype(np.float64), float(standalone_gflops.min()))
    mixes = [static_mixture(cost, standalone_gflops, each) for cost, each in zip(costs, accuracies, strict=True)]
    gains: np.ndarray = accuracy - np.stack(mixes)
    return gains


def cost_on_mixture(accuracy: float, standalone_gflops: np.ndarray, accuracies: np.ndarray) -> float | None:
    """The least mean GFLOPs at which a random mix of fixed exits (E,), (E,) is that accurate; None: it never is."""
    costs, heights = _hull(standalone_gflops, accuracies)
    return None if accuracy > heights[-1] else float(np.interp(accuracy, heights, costs))


def _hull(standalone_gflops: np.ndarray, accuracies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Costs and accuracies of the corners of the upper concave hull, both rising."""
    hull: list[tuple[float, float]] = []
    for cost, accuracy in sorted(zip(standalone_gflops.tolist(), accuracies.tolist(), strict=True)):
        if hull and accuracy <= hull[-1][1]:
            continue  # dearer and no better
        while len(hull) > 1 and _rise(hull[-1], (cost, accuracy)) >= _rise(hull[-2], hull[-1]):
            hull.pop()
        if hull and hull[-1][0] == cost:
            hull.pop()
        hull.append((cost, accuracy))
    costs, heights = np.array(hull).T
    return costs, heights


def largest_advantage(
    gflops: np.ndarray, accuracy: np.ndarray, standalone_gflops: np.ndarray, accuracies: np.ndarray
) -> Advantage:
    """Where a curve (P,), (P,) lies furthest above the mix of fixed exits (E,), (E,)."""
    gains = accuracy - static_mixture(gflops, standalone_gflops, accuracies)
    best = int(np.nanargmax(gains))
    return Advantage(float(gains[best]), float(gflops[best]))


@dataclass(frozen=True, eq=False)
class FixedExits:
    """Each exit alone in its network, on the images and on B resamples of them.

    Attributes:
        gflops: float (E,), of each exit if it were the only one.
        accuracy: float (E,), in [0, 1].
        resampled: float (B, E), its accuracy on each resample.
    """

    gflops: np.ndarray
    accuracy: np.ndarray
    resampled: np.ndarray

    def __repr__(self) -> str:
        """The accuracy and cost of each exit."""
        accuracies = ", ".join(f"{each:.4f}" for each in self.accuracy)
        gflops = ", ".join(f"{each:.4g}" for each in self.gflops)
        return f"FixedExits(accuracy [{accuracies}], GFLOPs [{gflops}], {len(self.resampled)} resamples)"


def find_advantage(
    curve: Sweep, some: Sweep, resampled: ResampledCurve, fixed: FixedExits, confidence: float = 0.95
) -> FoundAdvantage:
    """The largest advantage of a curve over the mix of fixed exits, with an interval.

    Args:
        curve: all points.
        some: those of them that were resampled.
        resampled: `some` on B resamples.
        fixed: the exits alone, on the same images and resamples.
        confidence: in (0, 1).
    """
    largest = largest_advantage(curve.gflops, curve.accuracy, fixed.gflops, fixed.accuracy)
    if len(fixed.gflops) == 1:
        return FoundAdvantage(largest, None)
    found = advantage_interval(some, resampled, fixed, confidence)
    # The whole curve may reach a little above those of its points that were resampled.
    return FoundAdvantage(largest, Interval(found.low, max(found.high, largest.accuracy)))


def advantage_interval(
    curve: Sweep, resampled: ResampledCurve, fixed: FixedExits, confidence: float = 0.95
) -> Interval:
    """Where the largest advantage of a curve over the mix of fixed exits lies, though it was looked for.

    Args:
        curve: P points.
        resampled: the same points on B resamples.
        fixed: the exits alone, on the same images and resamples.
        confidence: in (0, 1).
    """
    band = advantage_band(curve, resampled, fixed, confidence)
    return Interval(band.low, band.high)


@dataclass(frozen=True, eq=False)
class AdvantageBand:
    """A curve's advantage over fixed exits, and how far all of it may be off at once.

    Attributes:
        found: float (P,), on the images.
        reach_below: the advantage of no point is less than what was found by more than this.
        reach_above: nor more by more than this.
    """

    found: np.ndarray
    reach_below: float
    reach_above: float

    @property
    def low(self) -> float:
        """The lower end for the largest."""
        return float(np.nanmax(self.found)) - self.reach_below

    @property
    def high(self) -> float:
        """The upper end for the largest."""
        return float(np.nanmax(self.found)) + self.reach_above

    def __repr__(self) -> str:
        return f"AdvantageBand({len(self.found)} points, largest {float(np.nanmax(self.found)):.4f})"


def advantage_band(
    curve: Sweep, resampled: ResampledCurve, fixed: FixedExits, confidence: float = 0.95
) -> AdvantageBand:
    """The advantage of every point of a curve over the mix of fixed exits, with bounds that hold for all at once.

    The largest of many noisy differences is above 0 even where all of them truly are 0. So the bounds are made of the
    largest deviation over all points of the curve, not of that at the point which looks best (a max-statistic, as in
    Westfall and Young 1993): with the chance `confidence` all differences lie within them at once. The mix is made anew
    on every resample, since its corners are as noisy as the curve.

    Args:
        curve: P points.
        resampled: the same points on B resamples.
        fixed: the exits alone, on the same images and resamples.
        confidence: in (0, 1).
    """
    found = curve.accuracy - static_mixture(curve.gflops, fixed.gflops, fixed.accuracy)
    deviations = gains_over_mixture(resampled.accuracy, resampled.gflops, fixed.gflops, fixed.resampled) - found
    tail = (1 - confidence) / 2
    return AdvantageBand(
        found,
        reach_below=float(np.quantile(np.nanmax(deviations, axis=1), 1 - tail)),
        reach_above=-float(np.quantile(np.nanmin(deviations, axis=1), tail)),
    )


def _rise(low: tuple[float, float], high: tuple[float, float]) -> float:
    return (high[1] - low[1]) / (high[0] - low[0]) if high[0] > low[0] else np.inf
