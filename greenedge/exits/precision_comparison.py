"""What a network says in another precision, beside what it says in float32, on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenedge.device.precision import RunPrecision
from greenedge.exits.bootstrap import Estimate, accuracy_interval, bootstrap_weights, difference_interval
from greenedge.exits.goal import Goal
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.policy_choice import PER_EXIT, tune_policy
from greenedge.exits.routing import route_outputs


@dataclass(frozen=True)
class ComparedPredictions:
    """The same images predicted twice, with 95 % intervals over images.

    Attributes:
        exact_accuracy: in float32, in [0, 1].
        accuracy: in the other precision.
        difference: of the two, paired; below 0 where the other precision loses.
        same_predictions: the share of images with the same class.
    """

    exact_accuracy: float
    accuracy: Estimate
    difference: Estimate
    same_predictions: Estimate


@dataclass(frozen=True)
class PrecisionComparison:
    """A network in two precisions on N images, each under its own policy.

    Attributes:
        images: N.
        exits: each exit by what it goes by, if all images exited there.
        policy: under the policies.
        same_exits: the share of images that exit at the same place.
        exact_rates: (E,), exit rates in float32.
        rates: in the other precision.
        exact_gflops: mean per image in float32, by the count of float32 operations.
        gflops: of the exits taken in the other precision, by the same count.
    """

    images: int
    exits: tuple[ComparedPredictions, ...]
    policy: ComparedPredictions
    same_exits: Estimate
    exact_rates: tuple[float, ...]
    rates: tuple[float, ...]
    exact_gflops: float
    gflops: float

    def __repr__(self) -> str:
        return f"PrecisionComparison({self.images} images, {100 * self.policy.difference.value:+.2f} points)"


def compare_precisions(
    exact: ExitOutputs, exact_policy: ExitPolicy, other: ExitOutputs, policy: ExitPolicy
) -> PrecisionComparison:
    """Compares two precisions of one network.

    Args:
        exact: of E exits on N images, in float32.
        exact_policy: when images exit there.
        other: of the same network and images.
        policy: when images exit there.
    """
    labels, images = exact.labels, len(exact.labels)
    weights = bootstrap_weights(images)

    def share(of: np.ndarray) -> Estimate:
        value = float(of.mean())
        return Estimate(value, accuracy_interval(value, images, weights @ of.astype(np.float32)))

    def compared(before: np.ndarray, after: np.ndarray) -> ComparedPredictions:
        gained = (after == labels).astype(np.float32) - (before == labels).astype(np.float32)
        difference = Estimate(float(gained.mean()), difference_interval(weights @ gained, images))
        return ComparedPredictions(
            float((before == labels).mean()), share(after == labels), difference, share(before == after)
        )

    before, after = route_outputs(exact, exact_policy), route_outputs(other, policy)
    exact_point, point = (
        routed.scores.operating_point(each.thresholds) for routed, each in ((before, exact_policy), (after, policy))
    )
    return PrecisionComparison(
        images=images,
        exits=tuple(map(compared, before.joined.logits.argmax(axis=2), after.joined.logits.argmax(axis=2))),
        policy=compared(before.predictions, after.predictions),
        same_exits=share(before.exits == after.exits),
        exact_rates=exact_point.exit_shares,
        rates=point.exit_shares,
        exact_gflops=exact_point.gflops,
        gflops=point.gflops,
    )


def refit_policy(
    policy: ExitPolicy, exact: ExitOutputs, other: ExitOutputs, precision: RunPrecision, kind: str = PER_EXIT
) -> ExitPolicy:
    """A policy of the same kind for the outputs of another precision, within the mean cost of the former one.

    Thresholds, temperatures, the weights of an ensemble and the coefficients of a learned gain are all fitted anew; the
    criterion and whether there are temperatures and an ensemble stay.

    Args:
        policy: chosen on the outputs in float32.
        exact: those, on N images.
        other: in the other precision, on the same images.
        precision: that.
        kind: `per-exit`, or `shared` for one threshold.

    Raises:
        UsageError: there are too few images for the criterion.
    """
    former = route_outputs(exact, policy).scores.operating_point(policy.thresholds)
    found = tune_policy(
        other,
        None,
        Goal(budget_gflops=former.gflops),
        criterion=policy.criterion,
        ensemble=policy.ensemble is not None,
        kind=kind,
        temperatures=policy.temperatures is not None,
        precision=precision,
    )
    return found.policy
