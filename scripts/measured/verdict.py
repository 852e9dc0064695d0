"""Early exit, or a cascade, against the static family at several budgets: python scripts/measured/verdict.py --help.

Policies are chosen on the calibration images by `tune`, left to itself; accuracy, cost and the hull are those of the
validation images. It is what `greenedge tune` and `greenedge sweep --policy --static` say, a line for each budget.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from greenedge.exits.bootstrap import bootstrap_weights
from greenedge.exits.goal import Goal
from greenedge.exits.policy_choice import tune_policy
from greenedge.exits.static_family import above_static, exits_alone
from greenedge.exits.sweep import score_outputs
from greenedge.reporting.tables import format_table
from greenedge.training.trained import load_model
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs
from greenedge.workflows.static_family import load_static


def main() -> int:
    options = _arguments()
    for name in options.names:
        model = load_model(options.runs / name / "best.safetensors")
        images = PassOptions(options.data, "val")
        known = load_or_compute_outputs(model, PassOptions(options.data, "calibration")).outputs
        shown = load_or_compute_outputs(model, images)
        alone = exits_alone(shown.outputs.correct(), shown.summary.standalone_gflops)
        choices = [*alone, *load_static([options.runs / each for each in options.static], images, shown)]

        rows = []
        for budget in options.budgets:
            found = tune_policy(known, shown.outputs, Goal(budget_gflops=budget), criterion=options.criterion)
            scores = score_outputs(found.policy.join_outputs(shown.outputs), found.policy.get_criterion())
            correct, gflops = scores.outcomes(found.policy.thresholds)
            above = above_static(correct, gflops, choices, bootstrap_weights(len(correct)))
            low, high = above.interval.ends
            rows.append(
                [
                    f"{budget:g}",
                    str(found.rule),
                    f"{100 * correct.mean():.2f}",
                    f"{gflops.mean():.4f}",
                    f"{100 * above.value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})",
                    ", ".join(f"{100 * share:.1f}" for share in found.chosen.shown.exit_shares),
                ]
            )
        print(f"{name} against its exits alone, its backbone and {', '.join(options.static)}")
        headers = [
            "budget",
            "criterion",
            "accuracy (%)",
            "GFLOPs",
            "above the static family (points)",
            "exit rates (%)",
        ]
        print(format_table(headers, rows))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/measured/verdict.py", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="RUN", help="with exits, or a cascade")
    parser.add_argument("--static", nargs="+", required=True, metavar="RUN", help="their backbones join the family")
    parser.add_argument("--budgets", nargs="+", type=float, required=True, metavar="GFLOPS")
    parser.add_argument("--criterion", help="of the policies; default: the best by cross-fitting")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), help="folder of the run directories")
    parser.add_argument("--data", type=Path, default=Path("data/tiny-imagenet-200"), help="the prepared data set")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
