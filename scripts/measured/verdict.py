"""Early exit, or a cascade of runs, against the hull of static networks: python scripts/measured/verdict.py --help.

Policies are chosen on the calibration images by `tune`; accuracy, cost and the hull are those of the validation images,
whose outputs the runs keep. A static choice is a backbone without exits; the hull is what random mixes of two of them
reach. Its interval is over 1,000 resamples of the images, paired.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.exits.baselines import static_mixture
from greenedge.exits.bootstrap import bootstrap_weights, interval
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.policy_choice import Goal, tune_policy
from greenedge.exits.sweep import score_outputs
from greenedge.reporting.tables import format_table
from greenedge.training.trained import load_model
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs


@dataclass(frozen=True, eq=False)
class Measured:
    """A run on one split.

    Attributes:
        outputs: of its exits.
        backbone_gflops: of the backbone without exits.
    """

    outputs: ExitOutputs
    backbone_gflops: float

    def final_alone(self) -> ExitOutputs:
        """The backbone without exits."""
        return ExitOutputs(self.outputs.logits[-1:], self.outputs.labels, np.array([self.backbone_gflops]))


def main() -> int:
    options = _arguments()
    static = [_measured(options.runs / name, "val", options.data).final_alone() for name in options.static]
    known, shown = (_chain(options, split) for split in ("calibration", "val"))
    rows = []
    for budget in options.budgets:
        found = tune_policy(known, shown, Goal(budget_gflops=budget))
        policy = found.policy
        above, low, high = _above_hull(shown, policy, static)
        point = found.chosen.shown
        rates = ", ".join(f"{100 * share:.1f}" for share in point.exit_shares)
        rows.append(
            [
                f"{budget:g}",
                str(found.rule),
                f"{100 * point.accuracy:.2f}",
                f"{point.gflops:.4f}",
                f"{100 * above:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})",
                rates,
            ]
        )
    print(f"{' -> '.join(options.names)} against the hull of {', '.join(options.static)}")
    print(
        format_table(
            ["budget", "criterion", "accuracy (%)", "GFLOPs", "above the hull (points)", "exit rates (%)"], rows
        )
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/measured/verdict.py", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="RUN", help="one with exits, or several as a cascade")
    parser.add_argument("--static", nargs="+", required=True, metavar="RUN", help="their backbones are the hull")
    parser.add_argument("--budgets", nargs="+", type=float, required=True, metavar="GFLOPS")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), help="folder of the run directories")
    parser.add_argument("--data", type=Path, default=Path("data/tiny-imagenet-200"), help="the prepared data set")
    return parser.parse_args()


def _measured(run: Path, split: str, data: Path) -> Measured:
    model = load_model(run / "best.safetensors")
    return Measured(load_or_compute_outputs(model, PassOptions(data, split)).outputs, model.cost.plain_gflops)


def _chain(options: argparse.Namespace, split: str) -> ExitOutputs:
    """One run with its exits; of several the final exits, one after the other, whose costs add up."""
    members = [_measured(options.runs / name, split, options.data) for name in options.names]
    if len(members) == 1:
        return members[0].outputs
    alone = [each.final_alone() for each in members]
    gflops = np.cumsum(np.concatenate([each.gflops for each in alone]))
    return ExitOutputs(np.concatenate([each.logits for each in alone]), alone[0].labels, gflops)


def _above_hull(shown: ExitOutputs, policy: ExitPolicy, static: Sequence[ExitOutputs]) -> tuple[float, float, float]:
    """How far the policy's accuracy lies above the hull at its cost, with a 95 % interval."""
    joined = policy.join_outputs(shown)
    taken = score_outputs(joined, policy.get_criterion()).exit_indices(policy.thresholds)
    correct, images = joined.correct(), len(taken)
    columns = [correct[taken, np.arange(images)], joined.gflops[taken], *(each.correct()[0] for each in static)]
    costs = np.array([each.gflops[0] for each in static])

    def above(means: np.ndarray) -> float:
        accuracy, gflops, *accuracies = means
        return float(accuracy - _hull(costs, np.array(accuracies), gflops))

    values = np.stack(columns).astype(np.float64)
    resampled = np.array([above(each) for each in bootstrap_weights(images).astype(np.float64) @ values.T])
    low, high = interval(resampled).ends
    return above(values.mean(axis=1)), low, high


def _hull(costs: np.ndarray, accuracies: np.ndarray, gflops: float) -> float:
    """The best accuracy that a static network, or a random mix of two, has at a mean cost; 0 below the cheapest."""
    (found,) = np.nan_to_num(static_mixture(np.array([gflops]), costs, accuracies))
    return float(found)


if __name__ == "__main__":
    sys.exit(main())
