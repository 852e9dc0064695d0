"""A sweep of one shared threshold with all that it is judged by: areas, fixed exits, the oracle, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from greenedge.errors import UsageError
from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.baselines import FoundAdvantage, find_advantage, oracle_point
from greenedge.exits.bootstrap import Estimate, ResampledCurve, bootstrap_points, bootstrap_weights, interval
from greenedge.exits.confidence import Criterion, check_thresholds
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy, shared_policy
from greenedge.exits.static_family import (
    StaticChoice,
    StaticVerdict,
    above_static,
    exits_alone,
    fixed_exits,
    judge_against_static,
)
from greenedge.exits.sweep import ExitScores, OperatingPoint, Sweep, score_outputs, sweep_all, sweep_thresholds

Thresholds = Sequence[float] | Literal["all"]

_POINTS_RESAMPLED = 200


@dataclass(frozen=True)
class PolicyPoint:
    """What a policy does with its own thresholds.

    Attributes:
        point: accuracy, mean GFLOPs and exit rates.
        above_static: its accuracy minus that of the static family at its cost; None where no family was given.
    """

    point: OperatingPoint
    above_static: Estimate | None


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult:
    """Operating points of a network with E exits of C classes.

    Attributes:
        rule: what thresholds are compared with: a criterion, and what exits go by.
        points: of the thresholds that were asked for, or of all.
        curve: every distinct operating point.
        area: under the points, in % x GFLOPs.
        dominated_area: of the points, up to `reference_gflops`, in % x GFLOPs.
        reference_gflops: the cost of running everything, or what was asked for.
        advantage: of the curve over a random mix of fixed exits.
        oracle: exits at the first correct exit.
        exit_accuracies: (E,), if every image exited there, in [0, 1].
        standalone_gflops: (E,), of each exit if it were the only one.
        num_classes: C.
        static: the curve beside networks without early exit; None where none were given.
        policy: what a policy does with its own thresholds; None where none was given.
    """

    rule: ExitPolicy
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
    static: StaticVerdict | None = None
    policy: PolicyPoint | None = None

    @property
    def criterion(self) -> Criterion:
        """What thresholds are compared with."""
        return self.rule.get_criterion()

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
            f"SweepResult({len(self.points)} thresholds of {self.rule.criterion}; best "
            f"{100 * self.points.accuracy[best]:.2f} % at {self.points.gflops[best]:.4f} GFLOPs)"
        )


def analyse_sweep(
    outputs: ExitOutputs,
    standalone_gflops: Sequence[float] | np.ndarray,
    *,
    criterion: str | ExitPolicy = "entropy",
    thresholds: Thresholds = "all",
    reference_gflops: float | None = None,
    static: Sequence[StaticChoice] = (),
) -> SweepResult:
    """Sweeps a shared threshold over kept outputs.

    Args:
        outputs: of E exits on N images.
        standalone_gflops: (E,), of each exit if it were the only one.
        criterion: a name in `CRITERIA`, or a policy, whose criterion, temperatures and ensemble are taken.
        thresholds: in the criterion's unit, or `all`.
        reference_gflops: up to which the dominated area counts; None: the cost of running everything.
        static: networks without early exit on the same images, that the curve is to be set beside.

    Raises:
        UsageError: the reference cost is not positive, or a threshold is beyond what the criterion can say.
        ConfigError: there is no such criterion.
    """
    policy = criterion if isinstance(criterion, ExitPolicy) else None
    rule = policy or shared_policy(str(criterion), None, outputs.num_exits - 1)
    if len(rule.thresholds) != outputs.num_exits - 1:
        raise UsageError(
            f"the policy has {len(rule.thresholds)} thresholds, the network has {outputs.num_exits - 1} early exits"
        )
    if thresholds != "all":
        classes = outputs.logits.shape[2]
        check_thresholds(rule.criterion, thresholds, classes, outputs.num_exits, criterion=rule.get_criterion())
    reference = float(outputs.gflops[-1]) if reference_gflops is None else reference_gflops
    if not 0 < reference < float("inf"):
        raise UsageError(f"the reference cost must be a number above 0 GFLOPs, found {reference:g}")

    scores = score_outputs(rule.join_outputs(outputs), rule.get_criterion())
    curve = sweep_all(scores)
    points = curve if thresholds == "all" else sweep_thresholds(scores, thresholds)
    weights = bootstrap_weights(len(outputs.labels))
    area, dominated = _areas(scores, points, reference, weights)
    some = curve.rows(curve.spread(_POINTS_RESAMPLED))
    resampled = _resampled(scores, some, weights)
    alone = exits_alone(outputs.correct(), standalone_gflops)
    verdict = judge_against_static(some, resampled, [*alone, *static], weights) if static else None
    return SweepResult(
        rule=rule,
        points=points,
        curve=curve,
        area=area,
        dominated_area=dominated,
        reference_gflops=reference,
        advantage=find_advantage(curve, some, resampled, fixed_exits(alone, weights)),
        oracle=oracle_point(outputs),
        exit_accuracies=tuple(outputs.exit_accuracies().tolist()),
        standalone_gflops=tuple(np.asarray(standalone_gflops).tolist()),
        num_classes=outputs.logits.shape[2],
        static=verdict,
        policy=None if policy is None else _policy_point(scores, policy, verdict, weights),
    )


def _policy_point(
    scores: ExitScores, policy: ExitPolicy, verdict: StaticVerdict | None, weights: np.ndarray
) -> PolicyPoint:
    point = scores.operating_point(policy.thresholds)
    if verdict is None:
        return PolicyPoint(point, None)
    return PolicyPoint(point, above_static(*scores.outcomes(policy.thresholds), verdict.choices, weights))


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
