"""A policy chosen for a goal on some images, and what it does on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from greenedge.device.precision import RunPrecision
from greenedge.errors import UsageError
from greenedge.exits.bootstrap import (
    Estimate,
    Interval,
    accuracy_interval,
    bootstrap_points,
    bootstrap_weights,
    difference_interval,
    interval,
)
from greenedge.exits.confidence import GAIN, find_criterion
from greenedge.exits.exit_rules import (
    COMPARED_CRITERIA,
    MIN_IMAGES,
    ComparedRule,
    ExitRule,
    best_rule,
    compare_rules,
    fit_rule,
)
from greenedge.exits.frontier import Frontier, pareto_frontier, shared_frontier
from greenedge.exits.goal import Goal
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep import ExitScores, OperatingPoint
from greenedge.exits.tuning import cheapest_above, midpoint_thresholds, most_accurate_within, risk_controlled

PER_EXIT, SHARED = "per-exit", "shared"
_FRONTIERS: dict[str, Callable[[ExitScores], Frontier]] = {PER_EXIT: pareto_frontier, SHARED: shared_frontier}
_CURVE_POINTS = 200
_FEW_IMAGES = 200


@dataclass(frozen=True, eq=False)
class Curve:
    """Operating points, for a figure.

    Attributes:
        gflops: float (P,), mean costs.
        accuracy: float (P,), in [0, 1].
    """

    gflops: np.ndarray
    accuracy: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class PolicyCandidate:
    """The policy of one kind.

    Attributes:
        policy: what reaches the goal.
        chosen_on: what it does on the images it was chosen on.
        shown: what it does on the other images.
        frontier: of its kind, on the images it was chosen on.
        shown_curve: the same thresholds on the other images.
    """

    policy: ExitPolicy
    chosen_on: OperatingPoint
    shown: OperatingPoint
    frontier: Curve
    shown_curve: Curve

    def __repr__(self) -> str:
        return f"PolicyCandidate({self.policy}: {100 * self.shown.accuracy:.2f} % at {self.shown.gflops:.4f} GFLOPs)"


@dataclass(frozen=True)
class PolicyDifference:
    """Per-exit minus shared thresholds on the images shown, with 95 % intervals over the same resamples.

    Attributes:
        accuracy: in [-1, 1].
        gflops: of the mean costs.
    """

    accuracy: Estimate
    gflops: Estimate


@dataclass(frozen=True, eq=False, repr=False)
class TuneResult:
    """Policies for a goal.

    Attributes:
        goal: what was asked for.
        kind: of the policy chosen, `per-exit` or `shared`.
        candidates: kind -> policy; the kind that was not asked for may be missing.
        unreached: kind -> why it is missing.
        difference: None where a kind is missing.
        rule: what the thresholds are compared with.
        compared: the rules that it was chosen from; empty where there was no choice.
    """

    goal: Goal
    kind: str
    candidates: Mapping[str, PolicyCandidate]
    unreached: Mapping[str, str]
    difference: PolicyDifference | None
    rule: ExitRule = ExitRule("entropy")
    compared: tuple[ComparedRule, ...] = ()

    @property
    def chosen(self) -> PolicyCandidate:
        """The one asked for."""
        return self.candidates[self.kind]

    @property
    def policy(self) -> ExitPolicy:
        """Of the one asked for."""
        return self.chosen.policy

    def __repr__(self) -> str:
        return f"TuneResult({self.goal}: {self.chosen!r})"


def tune_policy(
    outputs: ExitOutputs,
    shown: ExitOutputs | None,
    goal: Goal,
    *,
    criterion: str | None = None,
    ensemble: bool | None = None,
    kind: str = PER_EXIT,
    temperatures: bool = True,
    precision: RunPrecision | None = None,
    fallback: str = "entropy",
) -> TuneResult:
    """Chooses the policy of each kind that reaches a goal.

    Where criterion or ensemble is left open, all that is possible is compared by cross-fitting on the images to choose
    on, and the best for the goal is taken (`exits/exit_rules.py`); margin in place of `gain`, where that does not beat
    it by more than a standard error. Temperatures, weights, coefficients and a choice fitted on the images that certify
    a largest loss would void the certificate: for that goal there are none, and what is left open is the criterion
    `fallback`, without an ensemble. So it is where the images are too few to compare on.

    Args:
        outputs: of the images to choose on.
        shown: of other images, to see what the policies do there; None: of the same.
        goal: what is asked for.
        criterion: a name in `CRITERIA`, or `gain`, whose coefficients are fitted on the same images; None: the best.
        ensemble: exits go by a running ensemble, its weights fitted on the same images; None: where that is better.
        kind: `per-exit`, or `shared` for one threshold for all early exits; the other kind is tuned for comparison.
        temperatures: divide each exit's logits by a temperature fitted on the same images.
        precision: that the network ran in, kept in the policy.
        fallback: the criterion where nothing is compared and none is given.

    Raises:
        UsageError: no thresholds of that kind reach the goal, or what is asked for would void the certificate.
        ConfigError: there is no such criterion.
    """
    if outputs.num_exits == 1:
        raise UsageError("the network has no early exit, so there is nothing to tune")
    if goal.max_loss is not None and ensemble:
        raise UsageError("an ensemble fitted on the images that certify a largest loss would void the certificate")
    if goal.max_loss is not None and criterion == GAIN:
        raise UsageError("gain, fitted on the images that certify a largest loss, would void the certificate")
    temperatures = temperatures and goal.max_loss is None
    alone = ExitRule(criterion or fallback, bool(ensemble))
    compared = _compared(outputs, goal, criterion, ensemble, temperatures=temperatures)
    rule = best_rule(compared, goal.better_by) if compared else alone
    fitted = fit_rule(rule, outputs, temperatures=temperatures)
    scores = fitted.score(outputs)
    shown_scores = scores if shown is None else fitted.score(shown)

    candidates, unreached = {}, {}
    for each, find_frontier in _FRONTIERS.items():
        frontier = find_frontier(scores)
        try:
            thresholds = _choose(scores, frontier, goal, shared=each == SHARED)
        except UsageError as error:
            if each == kind:
                raise
            unreached[each] = str(error)
            continue
        curve = Curve(frontier.gflops, frontier.accuracy)
        candidates[each] = PolicyCandidate(
            policy=fitted.policy(thresholds, precision),
            chosen_on=scores.operating_point(thresholds),
            shown=shown_scores.operating_point(thresholds),
            frontier=curve,
            shown_curve=curve if shown is None else _curve(shown_scores, frontier),
        )
    difference = None if unreached else _difference(shown_scores, candidates)
    return TuneResult(goal, kind, candidates, unreached, difference, rule, compared)


def _compared(
    outputs: ExitOutputs, goal: Goal, criterion: str | None, ensemble: bool | None, *, temperatures: bool
) -> tuple[ComparedRule, ...]:
    """The rules that are possible, on images held out; none where there is no choice, or too few images."""
    if criterion not in (None, GAIN):
        find_criterion(criterion)
    criteria = COMPARED_CRITERIA if criterion is None else (criterion,)
    ensembles = (False, True) if ensemble is None else (ensemble,)
    rules = [ExitRule(name, joined) for joined in ensembles for name in criteria]
    if len(rules) == 1 or goal.max_loss is not None or len(outputs.labels) < MIN_IMAGES:
        return ()

    def choose_threshold(scores: ExitScores) -> float:
        return _choose(scores, shared_frontier(scores), goal, shared=True)[0]

    return compare_rules(outputs, rules, choose_threshold, temperatures=temperatures, by=goal.better_by)


def _choose(scores: ExitScores, frontier: Frontier, goal: Goal, *, shared: bool) -> tuple[float, ...]:
    if goal.max_loss is not None:
        return risk_controlled(scores, goal.max_loss, goal.confidence, shared=shared)
    if goal.budget_gflops is not None:
        row = most_accurate_within(frontier, goal.budget_gflops)
    else:
        row = cheapest_above(frontier, goal.min_accuracy or 0.0)
    thresholds = frontier.thresholds[row].tolist()
    return tuple(thresholds) if shared else midpoint_thresholds(scores, thresholds)


def _curve(scores: ExitScores, frontier: Frontier) -> Curve:
    """Some of a frontier's thresholds on other images."""
    rows = np.unique(np.linspace(0, len(frontier) - 1, _CURVE_POINTS).round().astype(np.int64))
    points = [scores.operating_point(row) for row in frontier.thresholds[rows].tolist()]
    return Curve(np.array([point.gflops for point in points]), np.array([point.accuracy for point in points]))


def _difference(scores: ExitScores, candidates: Mapping[str, PolicyCandidate]) -> PolicyDifference:
    first, second = candidates[PER_EXIT], candidates[SHARED]
    images = scores.correct.shape[1]
    thresholds = [first.policy.thresholds, second.policy.thresholds]
    resampled = bootstrap_points(scores, thresholds, bootstrap_weights(images))
    accuracy = difference_interval(resampled.accuracy[:, 0] - resampled.accuracy[:, 1], images)
    gflops = interval(resampled.gflops[:, 0] - resampled.gflops[:, 1])
    return PolicyDifference(
        Estimate(first.shown.accuracy - second.shown.accuracy, accuracy),
        Estimate(first.shown.gflops - second.shown.gflops, gflops),
    )


def few_images_interval(outputs: ExitOutputs, goal: Goal) -> Interval | None:
    """95 % interval of the final exit's accuracy where images are too few to choose on; None where they are enough.

    A certified loss takes account of the number of images itself.
    """
    images = len(outputs.labels)
    if images >= _FEW_IMAGES or goal.max_loss is not None:
        return None
    accuracy = float(outputs.exit_accuracies()[-1])
    return accuracy_interval(accuracy, images, np.full(1, accuracy))
