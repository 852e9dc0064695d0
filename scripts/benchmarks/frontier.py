"""Times the Pareto frontier over one threshold per exit: 10,000 images, with 3 exits (exact) and 8 (local search).

`shared` is the frontier of one threshold for all exits. The outputs are generated so that later exits are better and
hard images are hard at every exit.
"""

from __future__ import annotations

import harness
import numpy as np

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.frontier import pareto_frontier, shared_frontier
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import ExitScores, score_outputs

IMAGES, CLASSES = 10_000, 200


def scores(exits: int) -> ExitScores:
    random = np.random.default_rng(0)
    labels, ease = random.integers(0, CLASSES, IMAGES), random.uniform(0, 1, IMAGES)
    logits = random.normal(size=(exits, IMAGES, CLASSES)).astype(np.float32)
    for index in range(exits):
        skill = 4 + 6 * (index + 1) / exits
        logits[index, np.arange(IMAGES), labels] += skill * ease * random.uniform(0.5, 1.5, IMAGES)
    outputs = ExitOutputs(logits, labels, np.cumsum(np.full(exits, 0.1)))
    return score_outputs(outputs, CRITERIA["entropy"])


def main() -> None:
    options = harness.parser(__doc__, rounds=3).parse_args()
    contests = []
    for exits in (3, 8):
        made = scores(exits)
        contenders = {
            f"per_exit/{exits}": lambda made=made: pareto_frontier(made),
            f"shared/{exits}": lambda made=made: shared_frontier(made),
        }
        contests.append(harness.time_interleaved(contenders, options.rounds))
    harness.report(*contests, as_json=options.json)


if __name__ == "__main__":
    main()
