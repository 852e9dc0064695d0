"""What each criterion reaches, with and without an ensemble: python scripts/measured/criteria.py --help.

Policies are chosen on the calibration images by `tune` with the criterion fixed, one threshold for each exit; accuracy
and cost are those of the validation images, whose outputs the runs keep. Differences have 95 % intervals over 1,000
resamples of the images, paired.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from greenedge.exits.bootstrap import bootstrap_weights, difference_interval
from greenedge.exits.exit_rules import COMPARED_CRITERIA, ExitRule
from greenedge.exits.goal import Goal
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy_choice import tune_policy
from greenedge.exits.sweep import score_outputs
from greenedge.reporting.tables import format_table
from greenedge.training.trained import load_model
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs

_DIFFERENCES = (("gain", "margin"), ("margin", "entropy"))


def main() -> int:
    options = _arguments()
    for name in options.names:
        model = load_model(options.runs / name / "best.safetensors")
        known, shown = (
            load_or_compute_outputs(model, PassOptions(options.data, split)).outputs for split in ("calibration", "val")
        )
        points, differences = [], []
        for budget in options.budgets:
            correct = {}
            for ensemble in (False, True):
                for criterion in COMPARED_CRITERIA:
                    rule = ExitRule(criterion, ensemble)
                    correct[rule], gflops = _tuned(known, shown, budget, rule)
                    points.append([f"{budget:g}", str(rule), f"{100 * correct[rule].mean():.2f}", f"{gflops:.5f}"])
            differences += _differences(budget, correct)
        print(name)
        print(format_table(["budget", "criterion", "accuracy (%)", "GFLOPs"], points))
        print(format_table(["budget", "difference", "points", "95 % interval"], differences))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/measured/criteria.py", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="RUN", help="with exits")
    parser.add_argument("--budgets", nargs="+", type=float, required=True, metavar="GFLOPS")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), help="folder of the run directories")
    parser.add_argument("--data", type=Path, default=Path("data/tiny-imagenet-200"), help="the prepared data set")
    return parser.parse_args()


def _tuned(known: ExitOutputs, shown: ExitOutputs, budget: float, rule: ExitRule) -> tuple[np.ndarray, float]:
    """Whether each image is right, bool (N,), and the mean GFLOPs per image."""
    goal = Goal(budget_gflops=budget)
    policy = tune_policy(known, None, goal, criterion=rule.criterion, ensemble=rule.ensemble).policy
    scores = score_outputs(policy.join_outputs(shown), policy.get_criterion())
    correct, gflops = scores.outcomes(policy.thresholds)
    return correct, float(gflops.mean())


def _differences(budget: float, correct: Mapping[ExitRule, np.ndarray]) -> list[list[str]]:
    rows = []
    for ensemble in (False, True):
        for first, second in _DIFFERENCES:
            difference = correct[ExitRule(first, ensemble)].astype(np.float64) - correct[ExitRule(second, ensemble)]
            images = len(difference)
            found = difference_interval(bootstrap_weights(images) @ difference, images)
            name = f"{first} minus {second}{', ensemble' if ensemble else ''}"
            span = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
            rows.append([f"{budget:g}", name, f"{100 * difference.mean():+.2f}", span])
    return rows


if __name__ == "__main__":
    sys.exit(main())
