"""What a network does under one policy, with intervals over images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from greenedge.exits.bootstrap import Interval, accuracy_interval, bootstrap_points, bootstrap_weights, interval
from greenedge.exits.confidence import describe_effect
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep import OperatingPoint, score_outputs


@dataclass(frozen=True, eq=False, repr=False)
class PolicyEvaluation:
    """A network under a policy on N images.

    Attributes:
        policy: when images exit.
        point: accuracy, mean GFLOPs and exit rates.
        accuracy_interval: 95 %, over images.
        gflops_interval: likewise, of the mean GFLOPs.
        exit_accuracies: (E,), of each exit by what it goes by, if every image exited there, in [0, 1].
        exit_indices: int64 (N,), the exit of each image, counted from 0.
        effect: what the policy does whatever the image, such as `no image exits early`; None: that depends on it.
    """

    policy: ExitPolicy
    point: OperatingPoint
    accuracy_interval: Interval
    gflops_interval: Interval
    exit_accuracies: tuple[float, ...]
    exit_indices: np.ndarray
    effect: str | None

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.point.accuracy

    @property
    def gflops(self) -> float:
        """Mean over the images."""
        return self.point.gflops

    def __repr__(self) -> str:
        images = len(self.exit_indices)
        return f"PolicyEvaluation({images} images: {100 * self.accuracy:.2f} % at {self.gflops:.4f} GFLOPs)"


@dataclass(frozen=True, eq=False)
class TopPredictions:
    """The likeliest classes of N images at the exits where they exited.

    Attributes:
        classes: int64 (N, K), the likeliest first.
        probability: float32 (N,), of the first, of what the exit goes by.
    """

    classes: np.ndarray
    probability: np.ndarray


def evaluate_policy(outputs: ExitOutputs, policy: ExitPolicy) -> PolicyEvaluation:
    """Accuracy, cost and exit rates of a policy, with 95 % intervals.

    Args:
        outputs: of E exits on N images.
        policy: for a network with E exits.
    """
    joined = policy.join_outputs(outputs)
    scores = score_outputs(joined, policy.get_criterion())
    images = len(outputs.labels)
    point = scores.operating_point(policy.thresholds)
    resampled = bootstrap_points(scores, [policy.thresholds], bootstrap_weights(images))
    return PolicyEvaluation(
        policy=policy,
        point=point,
        accuracy_interval=accuracy_interval(point.accuracy, images, resampled.accuracy[:, 0]),
        gflops_interval=interval(resampled.gflops[:, 0]),
        exit_accuracies=tuple(joined.exit_accuracies().tolist()),
        exit_indices=scores.exit_indices(policy.thresholds),
        effect=describe_effect(policy.get_criterion(), policy.thresholds, outputs.logits.shape[2], outputs.num_exits),
    )


def exit_intervals(outputs: ExitOutputs, policy: ExitPolicy) -> tuple[Interval, ...]:
    """95 % intervals over images of each exit's accuracy by what it goes by, if every image exited there."""
    correct = policy.join_outputs(outputs).correct().astype(np.float32)
    resampled = bootstrap_weights(correct.shape[1]) @ correct.T
    return tuple(
        accuracy_interval(float(of_exit.mean()), correct.shape[1], resampled[:, index])
        for index, of_exit in enumerate(correct)
    )


def top_predictions(outputs: ExitOutputs, evaluation: PolicyEvaluation, top: int = 5) -> TopPredictions:
    """The `top` likeliest classes of each image at the exit that it took."""
    exits = evaluation.exit_indices
    logits = evaluation.policy.join_outputs(outputs).logits[exits, np.arange(len(exits))]
    probabilities = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    classes = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    return TopPredictions(classes, probabilities[np.arange(len(exits)), classes[:, 0]])
