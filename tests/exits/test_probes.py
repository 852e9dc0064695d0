from __future__ import annotations

import numpy as np
import torch

from greenedge.exits import probes
from greenedge.exits.probes import fit_probe


def clusters(seed: int, images: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, images)
    centres = np.random.default_rng(0).normal(size=(4, 6)) * [1, 10, 0.1, 1, 5, 0.01]
    return (centres[labels] + random.normal(size=(images, 6)) * [0.5, 5, 0.05, 0.5, 2.5, 0.005]).astype("f2"), labels


def test_fit_probe_is_where_the_slope_is_zero() -> None:
    features, labels = clusters(1)
    probe = fit_probe(features, labels, 4)
    inputs = (features.astype(np.float64) - features.astype(np.float64).mean(0)) / features.astype(np.float64).std(0)
    logits = inputs @ probe.weight.double().numpy().T + probe.bias.double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    errors = (shares - np.eye(4)[labels]) / len(labels)
    slope = errors.T @ inputs + probes._WEIGHT_DECAY * probe.weight.double().numpy()
    assert np.abs(slope).max() < 1e-3
    assert np.abs(errors.sum(0)).max() < 1e-3


def test_fit_probe_tells_the_classes_of_other_images() -> None:
    features, labels = clusters(1)
    others, other_labels = clusters(2)
    probe = fit_probe(features, labels, 4)
    logits = probe.logits(others)
    assert logits.dtype == np.float32
    assert logits.shape == (300, 4)
    assert (logits.argmax(1) == other_labels).mean() > 0.9
    assert repr(probe) == "Probe(6 features, 4 classes)"


def test_fit_probe_takes_a_feature_that_never_changes() -> None:
    features, labels = clusters(1)
    features[:, 2] = 3
    probe = fit_probe(features, labels, 4)
    assert torch.isfinite(probe.weight).all()
    assert np.isfinite(probe.logits(features)).all()
