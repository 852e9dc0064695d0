"""A sweep of one shared threshold with all that it is judged by: areas, fixed exits, the oracle, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from greenedge.errors import UsageError
from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.baselines import FixedExits, FoundAdvantage, find_advantage, oracle_point
from greenedge.exits.bootstrap import Estimate, ResampledCurve, bootstrap_points, bootstrap_weights, interval
from greenedge.exits.confidence import Criterion, check_thresholds
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy, shared_policy
from greenedge.exits.sweep import ExitScores, OperatingPoint, Sweep, score_outputs, sweep_all, sweep_thresholds

Thresholds = Sequence[float] | Literal["all"]

_POINTS_RESAMPLED = 200


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult:
    """Operating points of a network with E exits of C classes.

    Attributes:
        policy: its thresholds are the ones that are swept; the rest of it holds at all points.
        points: of the thresholds that were asked for, or of all.
        curve: every distinct operating point.
        area: under the points, in % x GFLOPs.
        dominated_area: of the points, up to `reference_gflops`, in % x GFLOPs.
        reference_gflops: the cost of running everything, or what was asked for.
        advantage: of the curve over a random mix of fixed exits.
        oracle: exits at the first correct exit.
        exit_accuracies: (E,), of each exit by its own logits if every image exited there, in [0, 1].
        standalone_gflops: (E,), of each exit if it were the only one.
        num_classes: C.
    """

    policy: ExitPolicy
    points: Sweep
    curve: Sweep
    area: Estimate
    dominated_area: Estimate
    reference_gflops: float
    advantage: FoundAdvantage
    oracle: OperatingPoint
    exit_accuracies: tuple[float, ...]
    standalone_gflops: tuple[float, ...]
    num_classes: int

    @property
    def criterion_name(self) -> str:
        """The name of what thresholds are compared with."""
        return self.policy.criterion

    @property
    def criterion(self) -> Criterion:
        """What thresholds are compared with."""
        return self.policy.get_criterion()

    @property
    def backbone_gflops(self) -> float:
        """Of the backbone without exits: its final exit alone."""
        return self.standalone_gflops[-1]

    @property
    def cost_of_final_accuracy(self) -> float:
        """The least mean GFLOPs at which the curve is as accurate as the final exit; infinite where it never is."""
        as_accurate = self.curve.gflops[self.curve.accuracy >= self.exit_accuracies[-1]]
        return float(as_accurate.min(initial=np.inf))

    def __repr__(self) -> str:
        best = int(self.points.accuracy.argmax())
        return (
            f"SweepResult({len(self.points)} thresholds of {self.criterion_name}; best "
            f"{100 * self.points.accuracy[best]:.2f} % at {self.points.gflops[best]:.4f} GFLOPs)"
        )


def analyse_sweep(
    outputs: ExitOutputs,
    standalone_gflops: Sequence[float] | np.ndarray,
    *,
    criterion: str | ExitPolicy = "entropy",
    thresholds: Thresholds = "all",
    reference_gflops: float | None = None,
) -> SweepResult:
    """Sweeps a shared threshold over kept outputs.

    Args:
        outputs: of E exits on N images.
        standalone_gflops: (E,), of each exit if it were the only one.
        criterion: a name in `CRITERIA`; or a policy, of which all but the thresholds is kept: what exits go by, a
            learned criterion, and what both cost.
        thresholds: in the criterion's unit, or `all`.
        reference_gflops: up to which the dominated area counts; None: the cost of running everything.

    Raises:
        UsageError: the reference cost is not positive, a threshold is beyond what the criterion can say, or the policy
            is for a network with other exits.
        ConfigError: there is no such criterion.
    """
    policy = criterion if isinstance(criterion, ExitPolicy) else shared_policy(criterion, None, outputs.num_exits - 1)
    if len(policy.thresholds) != outputs.num_exits - 1:
        raise UsageError(
            f"the policy has {len(policy.thresholds)} thresholds, the network has {outputs.num_exits - 1} early exits"
        )
    if thresholds != "all":
        classes, exits = outputs.logits.shape[2], outputs.num_exits
        check_thresholds(policy.criterion, thresholds, classes, exits, criterion=policy.get_criterion())
    reference = float(outputs.gflops[-1]) if reference_gflops is None else reference_gflops
    if not 0 < reference < float("inf"):
        raise UsageError(f"the reference cost must be a number above 0 GFLOPs, found {reference:g}")

    joined = policy.join_outputs(outputs)
    scores = score_outputs(joined, policy.get_criterion())
    curve = sweep_all(scores)
    points = curve if thresholds == "all" else sweep_thresholds(scores, thresholds)
    weights = bootstrap_weights(len(outputs.labels))
    area, dominated = _areas(scores, points, reference, weights)
    return SweepResult(
        policy=policy,
        points=points,
        curve=curve,
        area=area,
        dominated_area=dominated,
        reference_gflops=reference,
        advantage=_advantage(scores, curve, outputs.correct(), np.asarray(standalone_gflops), weights),
        oracle=oracle_point(joined),
        exit_accuracies=tuple(outputs.exit_accuracies().tolist()),
        standalone_gflops=tuple(np.asarray(standalone_gflops).tolist()),
        num_classes=outputs.logits.shape[2],
    )


def _advantage(
    scores: ExitScores, curve: Sweep, correct: np.ndarray, standalone_gflops: np.ndarray, weights: np.ndarray
) -> FoundAdvantage:
    """Over exits that are each alone, and go by their own logits; bool (E, N): which of those are right."""
    some = curve.rows(curve.spread(_POINTS_RESAMPLED))
    fixed = FixedExits(standalone_gflops, correct.mean(axis=1), weights @ correct.T.astype(np.float32))
    return find_advantage(curve, some, _resampled(scores, some, weights), fixed)


def _areas(scores: ExitScores, points: Sweep, reference: float, weights: np.ndarray) -> tuple[Estimate, Estimate]:
    """Both areas with 95 % intervals.

    Where there are many points some of them are resampled; a curve of fewer points has a slightly smaller area, so only
    the spread is taken from it.
    """
    some = points
    if len(points) > _POINTS_RESAMPLED:
        rows = np.linspace(0, len(points) - 1, _POINTS_RESAMPLED).round().astype(np.int64)
        some = points.rows(np.unique(rows))
    resampled = _resampled(scores, some, weights)

    area = trapezoid_area(points.gflops, points.accuracy)
    spread = resampled.trapezoid_areas() - trapezoid_area(some.gflops, some.accuracy)
    dominated = dominated_area(points.gflops, points.accuracy, reference)
    dominated_spread = resampled.dominated_areas(reference) - dominated_area(some.gflops, some.accuracy, reference)
    return Estimate(area, interval(spread + area)), Estimate(dominated, interval(dominated_spread + dominated))


def _resampled(scores: ExitScores, curve: Sweep, weights: np.ndarray) -> ResampledCurve:
    thresholds = [(threshold,) * (scores.num_exits - 1) for threshold in curve.thresholds.tolist()]
    return bootstrap_points(scores, thresholds, weights)
