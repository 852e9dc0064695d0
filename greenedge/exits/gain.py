"""A learned criterion: what running on is predicted to gain, rather than whether this exit is right.

An image that every exit gets wrong is not worth running on with, however unsure this exit is of it; so the best rule
compares what the exits after this one would add with what they cost (Jitkrittum et al. 2023, "When does
confidence-based cascade deferral suffice?"; Regol et al. 2024, "Jointly-learned exit and inference for a dynamic neural
network"). It is learned here by ridge regression on what this exit and the one before say of an image, on images that
the network was not trained on. The coefficients are part of a policy (`exits/policy.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from greenedge.errors import UsageError
from greenedge.exits.confidence import Criterion, CriterionState
from greenedge.exits.outputs import ExitOutputs

GainCoefficients = tuple[tuple[float, ...], ...]

OWN_FEATURES = (
    *("largest probability", "margin", "entropy", "log of the largest probability"),
    *("largest logit", "largest logit minus second", "log of the sum of exponentials", "probability of the top five"),
)
FORMER_FEATURES = (
    *("largest probability before", "margin before", "entropy before"),
    *("whether the prediction is that before", "divergence from the probabilities before"),
)
_ALPHA = 30.0  # of the ridge, on features of mean 0 and deviation 1
_CONSTANT = 1e-9  # a deviation below this share of the mean is rounding
_TOP = 5


def exit_features(logits: Tensor, state: CriterionState) -> tuple[Tensor, Tensor]:
    """Computes what the gain is predicted from, and what the next exit needs of this one.

    Args:
        logits: what this exit goes by, (..., C).
        state: of the exit before, as this function gave it; None at the first.

    Returns:
        float64 (..., 8) at the first exit, `OWN_FEATURES`, and (..., 13) at later ones, `FORMER_FEATURES` besides; and
        the state, float64 (..., C + 5): log-probabilities, three scores, the prediction, how many exits there were.
    """
    exact = logits.double()
    classes = exact.shape[-1]
    log_probabilities = torch.log_softmax(exact, dim=-1)
    probabilities = log_probabilities.exp()
    top = exact.topk(min(_TOP, classes), dim=-1).values
    first, second = top[..., 0], top[..., min(1, classes - 1)]
    total = torch.logsumexp(exact, dim=-1)
    largest = (first - total).exp()
    margin = largest - (second - total).exp() if classes > 1 else largest
    entropy = -(probabilities * log_probabilities).sum(dim=-1)
    mass = (top - total[..., None]).exp().sum(dim=-1)
    prediction = exact.argmax(dim=-1).double()

    features = [largest, margin, entropy, first - total, first, first - second, total, mass]
    seen = torch.zeros_like(first)
    if state is not None:
        *scores, former_prediction, seen = state[..., classes:].unbind(dim=-1)
        divergence = (probabilities * (log_probabilities - state[..., :classes])).sum(dim=-1)
        features += [*scores, (prediction == former_prediction).double(), divergence]
    scalars = torch.stack([largest, margin, entropy, prediction, seen + 1], dim=-1)
    return torch.stack(features, dim=-1), torch.cat([log_probabilities, scalars], dim=-1)


def gain_criterion(coefficients: GainCoefficients) -> Criterion:
    """Makes the criterion of coefficients: the predicted gain of running on, from -1 to 1.

    The gain is of accuracy, minus what running on costs at the price that `fit_gain` says; at the final exit it is 0.

    Args:
        coefficients: of each early exit, the intercept and one for each feature.
    """
    table = torch.zeros(len(coefficients) + 1, 1 + len(OWN_FEATURES) + len(FORMER_FEATURES), dtype=torch.float64)
    for row, each in zip(table, coefficients, strict=False):
        row[: len(each)] = torch.tensor(each, dtype=torch.float64)

    def score_exit(logits: Tensor, state: CriterionState) -> tuple[Tensor, CriterionState]:
        features, following = exit_features(logits, state)
        # By index, since the number of the exit lies on the device: to ask for it would be a wait.
        index = (following[..., -1].long() - 1).clamp_max(len(coefficients))
        chosen = table.to(logits.device)[index]
        gain = chosen[..., 0] + (features * chosen[..., 1 : 1 + features.shape[-1]]).sum(dim=-1)
        return gain.clamp(-1, 1), following

    return Criterion(
        score_exit,
        "accuracy",
        exit_if_below=True,
        never_exit_threshold=-1.0,
        span=lambda _classes, _exits: (-1.0, 1.0),
    )


def check_gain(coefficients: GainCoefficients, early_exits: int) -> None:
    """Refuses coefficients that are not those of so many early exits.

    Raises:
        UsageError: there are too few or too many, or one is not finite.
    """
    own = 1 + len(OWN_FEATURES)
    expected = [own if index == 0 else own + len(FORMER_FEATURES) for index in range(early_exits)]
    found = [len(each) for each in coefficients]
    if found != expected:
        raise UsageError(
            f"gain has {_join(found)} coefficients at its exits, and the policy's {early_exits} early exits need "
            f"{_join(expected)}"
        )
    if not all(math.isfinite(each) for row in coefficients for each in row):
        raise UsageError("the coefficients of gain must be finite numbers")


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "no"


def continuing_price(outputs: ExitOutputs) -> float:
    """The accuracy, in [0, 1], that a GFLOP buys from the first exit to the final one; never below 0."""
    accuracies, gflops = outputs.exit_accuracies(), outputs.gflops
    spent = float(gflops[-1] - gflops[0])
    return max(0.0, float(accuracies[-1] - accuracies[0]) / spent) if spent > 0 else 0.0


def fit_gain(outputs: ExitOutputs) -> GainCoefficients:
    """Fits the gain of running on at each early exit, from the last one to the first.

    The value of an image at the final exit is whether it is right there; at an exit where the gate fitted for it stops
    (a predicted gain below 0), whether it is right there; at any other, the value at the next exit minus the price of
    going there, `continuing_price`. The target at an exit is the value of running on minus whether it is right here.

    Args:
        outputs: of images that the network was not trained on, with what each exit goes by in place of its logits.

    Returns:
        of each early exit, the intercept and one coefficient for each feature, as it is before any standardising.
    """
    price = continuing_price(outputs)
    correct = outputs.correct().astype(np.float64)
    features: list[np.ndarray] = []
    state: CriterionState = None
    for logits in torch.from_numpy(outputs.logits[:-1]):
        found, state = exit_features(logits, state)
        features.append(found.numpy())

    value = correct[-1]
    fitted: list[tuple[float, ...]] = []
    for index in reversed(range(outputs.num_exits - 1)):
        running_on = value - price * (outputs.gflops[index + 1] - outputs.gflops[index])
        coefficients = fit_ridge(features[index], running_on - correct[index])
        fitted.append(tuple(coefficients.tolist()))
        stops = coefficients[0] + features[index] @ coefficients[1:] < 0
        value = np.where(stops, correct[index], running_on)
    return tuple(reversed(fitted))


def fit_ridge(features: np.ndarray, target: np.ndarray, alpha: float = _ALPHA) -> np.ndarray:
    """Computes ridge regression on standardised features, in the features' own units.

    Args:
        features: float64 (N, F); one that does not vary gets the coefficient 0.
        target: float64 (N,).
        alpha: of the squared coefficients of the standardised features; the intercept is free.

    Returns:
        float64 (1 + F,), the intercept first.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    varies = deviation > _CONSTANT * np.maximum(np.abs(mean), 1)
    scale = np.where(varies, deviation, 1.0)
    standard = np.where(varies, (features - mean) / scale, 0.0)
    gram = standard.T @ standard + alpha * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, standard.T @ (target - target.mean())) / scale
    return np.append(target.mean() - weights @ mean, weights)


def gate_operations(exit_index: int, num_classes: int) -> int:
    """Multiply-adds of the gain at one early exit, where one elementary operation on a class counts as one.

    For C classes: 3 C for the log-softmax (shift, exponential, sum), C for the entropy, at most 5 C comparisons for the
    five largest, from the second exit on C for the divergence, and the coefficients. Other criteria, like every
    softmax, are not in fvcore's counts; this one is counted, so that nothing is learned for free.

    Args:
        exit_index: counted from 0.
        num_classes: C.
    """
    own = 9 * num_classes + 1 + len(OWN_FEATURES)
    return own if exit_index == 0 else own + num_classes + len(FORMER_FEATURES)
