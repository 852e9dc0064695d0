"""What a policy does on shifted images, beside what it does on clean ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.exits.bootstrap import Interval
from greenedge.exits.evaluation import evaluate_policy
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.running_quantiles import held_point
from greenedge.exits.sweep import OperatingPoint, score_outputs

_SEED = 0  # of the order in which images come


@dataclass(frozen=True)
class ShiftedPoint:
    """A policy on one set of images.

    Attributes:
        corruption: such as `gaussian_noise`; empty: none, the images are clean.
        severity: from 1; 0: clean.
        images: N.
        point: under the policy as it is.
        accuracy_interval: 95 %, over images.
        held: under running quantiles; None: not asked for.
    """

    corruption: str
    severity: int
    images: int
    point: OperatingPoint
    accuracy_interval: Interval
    held: OperatingPoint | None


@dataclass(frozen=True)
class MeanPoint:
    """The mean over several operating points, such as the severities of a corruption.

    Attributes:
        accuracy: in [0, 1].
        gflops: per image.
        exit_shares: (E,).
    """

    accuracy: float
    gflops: float
    exit_shares: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Robustness:
    """A policy on clean and on corrupted images.

    Attributes:
        policy: when images exit.
        clean: on the clean images.
        shifted: on each set of corrupted ones.
    """

    policy: ExitPolicy
    clean: ShiftedPoint
    shifted: tuple[ShiftedPoint, ...]

    @property
    def corruptions(self) -> tuple[str, ...]:
        """In the order in which they were run."""
        return tuple(dict.fromkeys(each.corruption for each in self.shifted))

    @property
    def held(self) -> bool:
        """Whether running quantiles were asked for."""
        return self.clean.held is not None

    def mean(self, corruption: str | None, *, held: bool = False) -> MeanPoint:
        """Over the severities of a corruption; None: over all sets."""
        return mean_point(
            [
                each.held if held and each.held is not None else each.point
                for each in self.shifted
                if corruption in (None, each.corruption)
            ]
        )

    def drift(self, gflops: float) -> float:
        """How far a cost is from that of the policy on the clean images, as a share of it."""
        return gflops / self.clean.point.gflops - 1

    def worst(self, *, held: bool = False) -> tuple[str, float]:
        """The corruption whose mean cost is farthest from the clean one, and how far."""
        drifts = {each: self.drift(self.mean(each, held=held).gflops) for each in self.corruptions}
        name = max(drifts, key=lambda each: abs(drifts[each]))
        return name, drifts[name]

    def __repr__(self) -> str:
        return f"Robustness({len(self.corruptions)} corruptions, {len(self.shifted)} sets)"


def shifted_point(
    outputs: ExitOutputs,
    policy: ExitPolicy,
    rates: np.ndarray | None,
    corruption: str = "",
    severity: int = 0,
) -> ShiftedPoint:
    """Computes what a policy does on one set of images; under running quantiles they come in a random order.

    Args:
        outputs: of E exits on N images.
        policy: for a network with E exits.
        rates: float64 (E-1,), that running quantiles are to keep; None: no running quantiles.
        corruption: of the images.
        severity: likewise.
    """
    found = evaluate_policy(outputs, policy)
    held = None
    if rates is not None:
        # Sets lie on disk by class, and a class after the other is no order in which quantiles could be learned.
        order = np.random.default_rng(_SEED).permutation(len(outputs.labels))
        scores = score_outputs(policy.join_outputs(outputs), policy.get_criterion())
        held = held_point(scores, policy, rates, order)
    return ShiftedPoint(corruption, severity, len(outputs.labels), found.point, found.accuracy_interval, held)


def mean_point(points: Sequence[OperatingPoint]) -> MeanPoint:
    """The mean of operating points, each counting the same."""
    return MeanPoint(
        float(np.mean([each.accuracy for each in points])),
        float(np.mean([each.gflops for each in points])),
        tuple(np.mean([each.exit_shares for each in points], axis=0).tolist()),
    )
