"""Which criterion to stop by, and whether exits join what they say: compared on images that nothing was fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from greenedge.device.precision import RunPrecision
from greenedge.errors import UsageError
from greenedge.exits.calibration import fit_temperatures
from greenedge.exits.confidence import GAIN
from greenedge.exits.ensemble import fit_ensemble, join_outputs
from greenedge.exits.gain import GainCoefficients, fit_gain
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep import ExitScores, score_outputs

COMPARED_CRITERIA = ("entropy", "max_probability", "margin", GAIN)
MIN_IMAGES = 200  # fewer, cut in five, would choose by chance
_FOLDS = 5
_SEED = 0


@dataclass(frozen=True)
class ExitRule:
    """What thresholds are compared with.

    Attributes:
        criterion: a name in `CRITERIA`, or `gain`.
        ensemble: exits go by a running ensemble, in place of their own logits alone.
    """

    criterion: str
    ensemble: bool = False

    def __str__(self) -> str:
        return f"{self.criterion}, ensemble" if self.ensemble else self.criterion


@dataclass(frozen=True)
class OverMargin:
    """By how much a learned rule beats margin with the same ensemble, on images that neither was fitted on.

    Attributes:
        value: accuracy more, in [-1, 1], or mean GFLOPs less, as the goal asks.
        standard_error: of the paired difference, over images.
    """

    value: float
    standard_error: float

    @property
    def clear(self) -> bool:
        """More than one standard error: less may be what the coefficients have learned by heart."""
        return self.value > self.standard_error


@dataclass(frozen=True)
class ComparedRule:
    """What a rule reaches on images that its temperatures, weights, coefficients and threshold were not fitted on.

    Attributes:
        rule: compared.
        accuracy: in [0, 1], over all images, each in its turn held out.
        gflops: their mean cost.
        over_margin: of a learned rule, where margin was compared too.
    """

    rule: ExitRule
    accuracy: float
    gflops: float
    over_margin: OverMargin | None = None

    @property
    def falls_back(self) -> bool:
        """Whether margin is preferred, as this rule does not clearly beat it."""
        return self.over_margin is not None and not self.over_margin.clear


@dataclass(frozen=True, eq=False)
class FittedRule:
    """A rule with what it needs.

    Attributes:
        rule: the rule.
        temperatures: of each exit, or None.
        ensemble: the weights of the exits before, or None.
        gain: the coefficients of each early exit, or None.
    """

    rule: ExitRule
    temperatures: tuple[float, ...] | None = None
    ensemble: tuple[float, ...] | None = None
    gain: GainCoefficients | None = None

    def policy(self, thresholds: tuple[float, ...], precision: RunPrecision | None = None) -> ExitPolicy:
        """The policy of this rule and a threshold for each early exit."""
        return ExitPolicy(self.rule.criterion, thresholds, self.temperatures, precision, self.ensemble, self.gain)

    def score(self, outputs: ExitOutputs) -> ExitScores:
        """The uncertainties of some images by this rule, and what they cost."""
        policy = self.policy((0.0,) * (outputs.num_exits - 1))
        return score_outputs(policy.join_outputs(outputs), policy.get_criterion())


def fit_rule(rule: ExitRule, outputs: ExitOutputs, *, temperatures: bool) -> FittedRule:
    """Fits temperatures, where they are wanted, and what the rule needs: weights, coefficients."""
    (fitted,) = _fit_rules([rule], outputs, temperatures=temperatures)
    return fitted


def compare_rules(
    outputs: ExitOutputs,
    rules: Sequence[ExitRule],
    choose_threshold: Callable[[ExitScores], float],
    *,
    temperatures: bool,
    by: Literal["accuracy", "gflops"] = "accuracy",
) -> tuple[ComparedRule, ...]:
    """What each rule reaches on images that nothing was fitted on, by cross-fitting.

    The images are cut into five parts; for each, temperatures, weights, coefficients and one threshold for all exits
    come from the other four. One threshold says as well as one for each exit which rule orders the images better, and
    takes milliseconds to find.

    Args:
        outputs: of images that the network was not trained on.
        rules: to compare; those that do not reach the goal on some of the parts are left out.
        choose_threshold: from the scores of some images to the threshold that reaches the goal on them, or a
            UsageError.
        temperatures: whether they are fitted.
        by: what makes a rule better.
    """
    images = len(outputs.labels)
    right, spent = ({rule: np.zeros(images) for rule in rules} for _ in range(2))
    for rest, held_out in _folds(images):
        known, shown = outputs.subset(rest), outputs.subset(held_out)
        for fitted in _fit_rules(list(right), known, temperatures=temperatures):
            try:
                threshold = choose_threshold(fitted.score(known))
            except UsageError:
                del right[fitted.rule]
                continue
            correct, gflops = fitted.score(shown).outcomes((threshold,) * (outputs.num_exits - 1))
            right[fitted.rule][held_out], spent[fitted.rule][held_out] = correct, gflops

    better = {rule: right[rule] if by == "accuracy" else -spent[rule] for rule in right}
    return tuple(
        ComparedRule(rule, float(right[rule].mean()), float(spent[rule].mean()), _over_margin(rule, better))
        for rule in right
    )


def best_rule(compared: Sequence[ComparedRule], by: Literal["accuracy", "gflops"]) -> ExitRule:
    """The most accurate rule, or the cheapest, of those that do not fall back to another; of equals the first."""
    eligible = [each for each in compared if not each.falls_back]
    if by == "accuracy":
        return max(eligible, key=lambda each: each.accuracy).rule
    return min(eligible, key=lambda each: each.gflops).rule


def _over_margin(rule: ExitRule, better: Mapping[ExitRule, np.ndarray]) -> OverMargin | None:
    """From what each image adds, float64 (N,), to each rule that reached the goal; None for rules not learned."""
    margin = ExitRule("margin", rule.ensemble)
    if rule.criterion != GAIN or margin not in better:
        return None
    difference = better[rule] - better[margin]
    return OverMargin(float(difference.mean()), float(difference.std()) / math.sqrt(len(difference)))


def _fit_rules(rules: Sequence[ExitRule], outputs: ExitOutputs, *, temperatures: bool) -> list[FittedRule]:
    """Fits what rules share once."""
    fitted = fit_temperatures(outputs) if temperatures else None
    weights = fit_ensemble(outputs, fitted) if any(rule.ensemble for rule in rules) else None
    found = []
    for rule in rules:
        ensemble = weights if rule.ensemble else None
        gain = fit_gain(join_outputs(outputs, fitted, ensemble)) if rule.criterion == GAIN else None
        found.append(FittedRule(rule, fitted, ensemble, gain))
    return found


def _folds(images: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of (the other four parts, one part), int64, for each of five."""
    order = np.random.default_rng(_SEED).permutation(images)
    parts = np.array_split(order, _FOLDS)
    for index, held_out in enumerate(parts):
        yield np.concatenate([part for other, part in enumerate(parts) if other != index]), held_out
