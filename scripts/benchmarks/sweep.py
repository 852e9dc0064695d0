"""Times a sweep of 1,000 thresholds over 10,000 images x 3 exits x 200 classes, from stored outputs.

`with_scores` starts from the logits, `thresholds_only` from the scores that all sweeps share; `one_by_one` routes the
images again for each threshold, from the same scores.
"""

from __future__ import annotations

import harness
import numpy as np

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.sweep import score_outputs, sweep_thresholds


def main() -> None:
    options = harness.parser(__doc__, rounds=9).parse_args()
    random = np.random.default_rng(0)
    outputs = ExitOutputs(
        logits=random.normal(scale=3, size=(3, 10_000, 200)).astype(np.float32),
        labels=random.integers(0, 200, 10_000),
        gflops=np.array([0.06, 0.10, 0.17]),
    )
    thresholds = np.linspace(0, 5.3, 1000)
    criterion = CRITERIA["entropy"]
    scores = score_outputs(outputs, criterion)

    def one_by_one() -> None:
        images = np.arange(10_000)
        for threshold in thresholds:
            exits = scores.minima < threshold
            exit_indices = np.where(exits.any(axis=0), exits.argmax(axis=0), 2)
            assert 0 <= scores.correct[exit_indices, images].mean() <= 1
            assert scores.gflops[exit_indices].mean() > 0

    contenders = {
        "with_scores": lambda: list(sweep_thresholds(score_outputs(outputs, criterion), thresholds).points()),
        "thresholds_only": lambda: list(sweep_thresholds(scores, thresholds).points()),
        "one_by_one": one_by_one,
    }
    harness.report(harness.time_interleaved(contenders, options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
