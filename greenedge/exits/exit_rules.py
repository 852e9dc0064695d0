"""Which criterion to stop by, and whether exits join what they say: compared on images that nothing was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from greenedge.errors import UsageError
from greenedge.exits.calibration import fit_temperatures
from greenedge.exits.confidence import find_criterion
from greenedge.exits.ensemble import fit_ensemble, join_outputs
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import ExitScores, score_outputs

COMPARED_CRITERIA = ("entropy", "max_probability", "margin")
MIN_IMAGES = 200  # fewer, cut in five, would choose by chance
_FOLDS = 5
_SEED = 0


@dataclass(frozen=True)
class ExitRule:
    """What thresholds are compared with.

    Attributes:
        criterion: a name in `CRITERIA`.
        ensemble: exits go by a running ensemble, in place of their own logits alone.
    """

    criterion: str
    ensemble: bool = False

    def __str__(self) -> str:
        return f"{self.criterion}, ensemble" if self.ensemble else self.criterion


@dataclass(frozen=True)
class ComparedRule:
    """What a rule reaches on images that its temperatures, weights and threshold were not fitted on.

    Attributes:
        rule: compared.
        accuracy: in [0, 1], over all images, each in its turn held out.
        gflops: their mean cost.
    """

    rule: ExitRule
    accuracy: float
    gflops: float


@dataclass(frozen=True, eq=False)
class FittedRule:
    """A rule with what it needs.

    Attributes:
        rule: the rule.
        temperatures: of each exit, or None.
        ensemble: the weights of the exits before, or None.
    """

    rule: ExitRule
    temperatures: tuple[float, ...] | None = None
    ensemble: tuple[float, ...] | None = None

    def score(self, outputs: ExitOutputs) -> ExitScores:
        """The uncertainties of some images by this rule."""
        joined = join_outputs(outputs, self.temperatures, self.ensemble)
        return score_outputs(joined, find_criterion(self.rule.criterion))


def fit_rule(rule: ExitRule, outputs: ExitOutputs, *, temperatures: bool) -> FittedRule:
    """Fits temperatures, where they are wanted, and the ensemble's weights, where the rule has one."""
    (fitted,) = _fit_rules([rule], outputs, temperatures=temperatures)
    return fitted


def compare_rules(
    outputs: ExitOutputs,
    rules: Sequence[ExitRule],
    choose_threshold: Callable[[ExitScores], float],
    *,
    temperatures: bool,
) -> tuple[ComparedRule, ...]:
    """What each rule reaches on images that nothing was fitted on, by cross-fitting.

    The images are cut into five parts; for each, temperatures, weights and one threshold for all exits come from the
    other four. One threshold says as well as one for each exit which rule orders the images better, and takes
    milliseconds to find.

    Args:
        outputs: of images that the network was not trained on.
        rules: to compare; those that do not reach the goal on some of the parts are left out.
        choose_threshold: from the scores of some images to the threshold that reaches the goal on them, or a
            UsageError.
        temperatures: whether they are fitted.
    """
    right, spent = dict.fromkeys(rules, 0.0), dict.fromkeys(rules, 0.0)
    for rest, held_out in _folds(outputs):
        for fitted in _fit_rules(list(right), rest, temperatures=temperatures):
            try:
                threshold = choose_threshold(fitted.score(rest))
            except UsageError:
                del right[fitted.rule]
                continue
            point = fitted.score(held_out).operating_point((threshold,) * (outputs.num_exits - 1))
            right[fitted.rule] += point.accuracy * len(held_out.labels)
            spent[fitted.rule] += point.gflops * len(held_out.labels)
    images = len(outputs.labels)
    return tuple(ComparedRule(rule, number / images, spent[rule] / images) for rule, number in right.items())


def _fit_rules(rules: Sequence[ExitRule], outputs: ExitOutputs, *, temperatures: bool) -> list[FittedRule]:
    """Fits what rules share once."""
    fitted = fit_temperatures(outputs) if temperatures else None
    weights = fit_ensemble(outputs, fitted) if any(rule.ensemble for rule in rules) else None
    return [FittedRule(rule, fitted, weights if rule.ensemble else None) for rule in rules]


def _folds(outputs: ExitOutputs) -> Iterator[tuple[ExitOutputs, ExitOutputs]]:
    """(The other four parts, one part), for each of five."""
    order = np.random.default_rng(_SEED).permutation(len(outputs.labels))
    parts = np.array_split(order, _FOLDS)
    for index, held_out in enumerate(parts):
        rest = np.concatenate([part for other, part in enumerate(parts) if other != index])
        yield outputs.subset(rest), outputs.subset(held_out)
