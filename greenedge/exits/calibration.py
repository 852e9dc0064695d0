"""Whether an exit's confidence can be believed: temperatures, calibration error, and how well it tells failures."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from greenedge.exits.outputs import ExitOutputs

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 1e-2, 1e2
_HALVINGS = 30  # of the interval of ln T


def fit_temperatures(outputs: ExitOutputs) -> tuple[float, ...]:
    """The temperature of each exit that makes the true labels most likely (Guo et al. 2017, section 4.2).

    The mean negative log-likelihood of softmax(z / T) is convex in b = 1/T with slope mean(E_p[z] - z_y), so halving
    an interval finds the only place where the slope is 0, or the end of [0.01, 100] that lies nearest.

    Args:
        outputs: of images that the network was not trained on.
    """
    labels = torch.from_numpy(outputs.labels)
    return tuple(_fit_one(torch.from_numpy(logits).double(), labels) for logits in outputs.logits)


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """The mean gap between confidence and accuracy, in [0, 1], over bins of equal width (Guo et al. 2017, equation 3).

    Args:
        confidence: float (N,), the largest probability of each prediction.
        correct: bool (N,), whether it is right.
        bins: of (0, 1/bins], (1/bins, 2/bins], ...
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=correct - confidence.astype(np.float64), minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def failure_auroc(uncertainty: np.ndarray, correct: np.ndarray) -> float | None:
    """The chance that a wrong prediction is less confident than a correct one (Hendrycks and Gimpel 2017).

    A tie counts half.

    Args:
        uncertainty: float (N,), smaller is more confident.
        correct: bool (N,).

    Returns:
        0.5 where the score tells nothing, 1 where it tells all; None where all predictions are correct, or all wrong.
    """
    right, wrong = int(correct.sum()), int((~correct).sum())
    if right == 0 or wrong == 0:
        return None
    _, place, counts = np.unique(uncertainty, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # ties share the mean of their ranks
    return float((rank[~correct].sum() - wrong * (wrong + 1) / 2) / (right * wrong))


def top_confidence(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """float32 (...): the largest softmax probability of logits (..., C) over the temperature."""
    best: np.ndarray = torch.softmax(torch.from_numpy(logits) / temperature, dim=-1).amax(dim=-1).numpy()
    return best


def _fit_one(logits: Tensor, labels: Tensor) -> float:
    beyond_true = logits - logits.gather(1, labels[:, None])
    low, high = math.log(_MIN_TEMPERATURE), math.log(_MAX_TEMPERATURE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = (torch.softmax(logits / math.exp(middle), dim=1) * beyond_true).sum(dim=1).mean()
        # Too hot: the probabilities are flatter than the labels, and what is expected of z falls below z_y.
        low, high = (low, middle) if slope <= 0 else (middle, high)
    return math.exp((low + high) / 2)
