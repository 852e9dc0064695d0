from __future__ import annotations

import numpy as np
import pytest

from greenedge.exits.baselines import FixedExits
from greenedge.exits.bootstrap import bootstrap_points, bootstrap_weights
from greenedge.exits.comparison import resample_network
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.frontier import pareto_frontier
from greenedge.exits.outputs import ExitOutputs, ExpectedOutputs
from greenedge.exits.overthinking import find_overthinking
from greenedge.exits.sweep import score_outputs, sweep_all

LOGITS = np.array([[[2, 0], [1, 0], [0, 3]], [[0, 3], [2, 0], [0, 3]]], dtype=np.float32)
OUTPUTS = ExitOutputs(LOGITS, np.array([0, 0, 1]), np.array([0.25, 1.0]))
SCORES = score_outputs(OUTPUTS, CRITERIA["entropy"])
WEIGHTS = bootstrap_weights(3, 5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (OUTPUTS, "ExitOutputs(2 exits, 3 images, 2 classes, GFLOPs [0.25, 1])"),
        (ExpectedOutputs(OUTPUTS.labels, OUTPUTS.gflops, 2), "ExpectedOutputs(2 exits, 3 images, 2 classes)"),
        (SCORES, "ExitScores(2 exits, 3 images, accuracy [1.0000, 0.6667], GFLOPs [0.25, 1])"),
        (sweep_all(SCORES), "Sweep(2 exits, 4 points, 0.25 to 1 GFLOPs, accuracy 0.6667 to 1.0000)"),
        (pareto_frontier(SCORES), "Frontier(1 thresholds, 1 points, 0.25 to 0.25 GFLOPs, accuracy 1.0000 to 1.0000)"),
        (find_overthinking(OUTPUTS), "Overthinking(1 of 3 images)"),
        (bootstrap_points(SCORES, [[0.1], [0.2]], WEIGHTS), "ResampledCurve(2 points, 5 resamples)"),
        (
            FixedExits(OUTPUTS.gflops, OUTPUTS.exit_accuracies(), np.zeros((5, 2))),
            "FixedExits(accuracy [1.0000, 0.6667], GFLOPs [0.25, 1], 5 resamples)",
        ),
        (
            resample_network(SCORES, WEIGHTS),
            "ResampledNetwork(3 images, accuracy [1.0000, 0.6667], ResampledCurve(4 points, 5 resamples))",
        ),
    ],
)
def test_repr_says_shapes_and_key_numbers(value: object, text: str) -> None:
    assert repr(value) == text
    assert value != object()
