"""Several networks on the same images: their estimates, their differences, and bands for a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.baselines import FoundAdvantage
from greenedge.exits.bootstrap import Estimate, accuracy_interval, bootstrap_weights, interval
from greenedge.exits.comparison import Pair, ResampledNetwork, compare_pairs, resample_network
from greenedge.exits.static_family import StaticChoice, StaticVerdict, exits_alone, judge_against_static
from greenedge.exits.sweep import ExitScores

_BAND_COSTS = 240


@dataclass(frozen=True, eq=False)
class Band:
    """A network's curve, and where it would lie on other images of the same kind.

    Attributes:
        gflops: float (P,), rising mean costs.
        accuracy: float (P,), in [0, 1].
        band_gflops: float (G,), costs at which the band is known.
        low: float (G,), the lower edge of the best accuracy within each cost, of 95 % of the resamples.
        high: float (G,), the upper edge.
    """

    gflops: np.ndarray
    accuracy: np.ndarray
    band_gflops: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class ComparedNetwork:
    """One network.

    Attributes:
        accuracy: of the final exit, in [0, 1].
        gflops: of running everything.
        area: under the curve, in % x GFLOPs.
        dominated_area: up to the reference cost, in % x GFLOPs.
        advantage: over a random mix of fixed exits; the intervals of all networks hold at once.
        band: of its curve.
        static: its curve beside networks without early exit; None where none were given.
    """

    accuracy: Estimate
    gflops: float
    area: Estimate
    dominated_area: Estimate
    advantage: FoundAdvantage
    band: Band
    static: StaticVerdict | None = None

    def __repr__(self) -> str:
        return f"ComparedNetwork({100 * self.accuracy.value:.2f} % at {self.gflops:.4f} GFLOPs)"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Networks on the same N images.

    Attributes:
        networks: in the order given.
        pairs: differences of each pair.
        reference_gflops: up to which dominated areas count.
    """

    networks: tuple[ComparedNetwork, ...]
    pairs: tuple[Pair, ...]
    reference_gflops: float


def compare_networks(
    scores: Sequence[ExitScores], standalone_gflops: Sequence[np.ndarray], static: Sequence[StaticChoice] = ()
) -> Comparison:
    """Compares networks; all numbers of a resample are of the same images, so that differences are paired.

    Args:
        scores: of each network, on the same N images.
        standalone_gflops: of each network: float (E,), of each exit if it were the only one.
        static: networks without early exit, on the same images, that each curve is to be set beside.
    """
    weights = bootstrap_weights(scores[0].correct.shape[1])
    resampled = [resample_network(each, weights) for each in scores]
    reference = max(float(each.gflops[-1]) for each in scores)
    confidence = 1 - 0.05 / len(scores)  # the intervals over fixed choices hold for all networks at once
    networks = []
    for each, score, costs in zip(resampled, scores, standalone_gflops, strict=True):
        verdict = None
        if static:
            choices = [*exits_alone(score.correct, costs), *static]
            verdict = judge_against_static(each.curve, each.resampled, choices, weights, confidence)
        advantage = each.advantage(costs, confidence)
        networks.append(_network(each, float(score.gflops[-1]), reference, advantage, verdict))
    return Comparison(tuple(networks), tuple(compare_pairs(resampled, reference)), reference)


def curve_band(scores: ExitScores) -> Band:
    """One network's curve over a shared threshold, and where it would lie on other images."""
    return _band(resample_network(scores, bootstrap_weights(scores.correct.shape[1])))


def _network(
    network: ResampledNetwork,
    gflops: float,
    reference: float,
    advantage: FoundAdvantage,
    static: StaticVerdict | None,
) -> ComparedNetwork:
    curve, resampled = network.curve, network.resampled
    accuracy = float(network.exit_accuracies[-1])
    return ComparedNetwork(
        accuracy=Estimate(accuracy, accuracy_interval(accuracy, len(network.right), network.resampled_exits[:, -1])),
        gflops=gflops,
        area=Estimate(trapezoid_area(curve.gflops, curve.accuracy), interval(resampled.trapezoid_areas())),
        dominated_area=Estimate(
            dominated_area(curve.gflops, curve.accuracy, reference), interval(resampled.dominated_areas(reference))
        ),
        advantage=advantage,
        band=_band(network),
        static=static,
    )


def _band(network: ResampledNetwork) -> Band:
    curve = network.curve
    costs = np.linspace(float(curve.gflops.min()), float(curve.gflops.max()), _BAND_COSTS)
    at_costs = network.resampled.at_costs(costs)
    known = ~np.isnan(at_costs).any(axis=0)  # a cost below the cheapest point of some resample has no band
    low, high = np.quantile(at_costs[:, known], [0.025, 0.975], axis=0)
    order = np.argsort(curve.gflops)
    return Band(curve.gflops[order], curve.accuracy[order], costs[known], low, high)
