"""Scores of exits for `runner.py`, beside which this file lies; needs numpy alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

CRITERIA = ("entropy", "normalised_entropy", "max_probability", "margin", "patience", "gain")
_OWN, _FORMER = 8, 5  # features of an exit, and those that need the exit before


def find_problem(policy: dict[str, Any], low: Any) -> str | None:
    """What of a policy's criterion and coefficients is unknown or does not fit, as a sentence; None: nothing.

    `low` is whether a low score is confident, as the manifest says of the criterion, or None.
    """
    name, gain, early = policy["criterion"], policy.get("gain"), len(policy["thresholds"])
    if type(low) is not bool or name not in CRITERIA:
        return f"the criterion {name!r} of policy.json is unknown here"
    lengths = [1 + _OWN + (_FORMER if index else 0) for index in range(early)] if name == "gain" else None
    try:
        fits = gain is None if lengths is None else [len(each) for each in gain or ()] == lengths
        fits = fits and all(type(each) in (int, float) and math.isfinite(each) for row in gain or () for each in row)
    except (TypeError, OverflowError):
        fits = False
    return None if fits else "policy.json has coefficients of gain that do not fit its criterion and exits"


def own_gflops(policy: dict[str, Any], classes: int) -> np.ndarray:
    """float64 (E,): what an ensemble and a learned gain cost up to each exit, counted as greenedge counts them."""
    ensemble, gain = policy.get("ensemble"), policy.get("gain")
    operations = np.zeros(len(policy["thresholds"]) + 1)
    if policy.get("temperatures") is not None and (ensemble is not None or gain is not None):
        operations += classes
    if ensemble is not None:
        operations[1:] += 2 * classes
    for index, coefficients in enumerate(gain or ()):
        operations[index] += (10 if index else 9) * classes + len(coefficients)
    return np.asarray(operations.cumsum() / 1e9)


def score_exit(policy: dict[str, Any], index: int, logits: np.ndarray, state: np.ndarray) -> tuple[Any, np.ndarray]:
    """Scores (N,) of exit `index`, from 0, and a state (N, K) for the next exit, from what the exit goes by (N, C)."""
    name = policy["criterion"]
    if name == "patience":  # the prediction, and how many exits in a row gave it
        prediction = logits.argmax(axis=1)
        run = np.where(prediction == state[:, 0], state[:, 1] + 1, 1) if index else np.ones(len(logits), np.int64)
        return run, np.stack([prediction, run], axis=1)
    if name == "gain":
        features, state = _features(logits.astype(np.float64), state)
        if index == len(policy["gain"]):  # nothing follows the final exit
            return np.zeros(len(logits)), state
        intercept, *coefficients = policy["gain"][index]
        return np.clip(intercept + (features * np.array(coefficients)).sum(axis=1), -1, 1), state

    p = np.exp(log_p := log_softmax(logits))
    if name in ("entropy", "normalised_entropy"):
        return -(p * log_p).sum(axis=1) / np.float32(1 if name == "entropy" else np.log(p.shape[1])), state
    second, first = np.sort(p, axis=1)[:, -2:].T
    return (first if name == "max_probability" else first - second), state


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, C) of logits (N, C)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _features(logits: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 (N, 8), or (N, 13) after the first exit, and the state (N, C + 4), empty before the first exit."""
    p, classes = np.exp(log_p := log_softmax(logits)), logits.shape[1]
    top = np.sort(logits, axis=1)[:, ::-1][:, :5]
    first, second, total = top[:, 0], top[:, min(1, classes - 1)], top[:, 0] - log_p.max(axis=1)
    largest, entropy = np.exp(first - total), -(p * log_p).sum(axis=1)
    margin = largest - np.exp(second - total) if classes > 1 else largest
    mass = np.exp(top - total[:, None]).sum(axis=1)
    features = [largest, margin, entropy, first - total, first, first - second, total, mass]
    prediction = logits.argmax(axis=1)
    if state.shape[1]:
        former, scores, former_prediction = np.split(state, [classes, classes + 3], axis=1)
        features += [*scores.T, prediction == former_prediction[:, 0], (p * (log_p - former)).sum(axis=1)]
    return np.stack(features, axis=1), np.column_stack([log_p, largest, margin, entropy, prediction])
