"""Where images exit under a policy, and what they are predicted there, from kept outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep import ExitScores, score_outputs


@dataclass(frozen=True, eq=False)
class RoutedImages:
    """N images under a policy.

    Attributes:
        joined: what the exits go by.
        scores: of the policy's criterion.
        exits: int64 (N,), counted from 0.
        predictions: int64 (N,), class indices, of the exit that each image took.
    """

    joined: ExitOutputs
    scores: ExitScores
    exits: np.ndarray
    predictions: np.ndarray

    def __repr__(self) -> str:
        return f"RoutedImages({len(self.exits)} images)"


def route_outputs(outputs: ExitOutputs, policy: ExitPolicy) -> RoutedImages:
    """Routes images as the engine does, by arithmetic on their outputs.

    Args:
        outputs: of E exits on N images.
        policy: for a network with E exits.
    """
    joined = policy.join_outputs(outputs)
    scores = score_outputs(joined, policy.get_criterion())
    exits = scores.exit_indices(policy.thresholds)
    return RoutedImages(joined, scores, exits, joined.logits[exits, np.arange(len(exits))].argmax(axis=1))
