"""Softmax probes after every block of a trained backbone, fitted on training images and shown on calibration images."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from greenedge.cost.flops import count_costs
from greenedge.data.kept_arrays import ArraySpec, open_arrays, write_arrays
from greenedge.data.loader import build_transform
from greenedge.data.prepared import PreparedSplit
from greenedge.device.precision import choose_device
from greenedge.exits.candidates import Candidates
from greenedge.exits.probes import PROBE_VERSION, fit_probe
from greenedge.models.build import to_device
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.feature_pass import FeaturePass, features_source, load_or_compute_features
from greenedge.training.trained import TrainedModel

_PROBES = "probes"

_log = logging.getLogger("greenedge")


def probe_candidates(
    model: TrainedModel, network: MultiExitNetwork, train: PreparedSplit, calibration: PreparedSplit, folder: Path
) -> Candidates:
    """What each block's probe says of the calibration images, with the costs of exits there.

    Pooled features and the probes' logits are kept, each with a digest of all it depends on.

    Args:
        model: that the network is of.
        network: with an exit after every block but the last.
        train: images that the probes are fitted on.
        calibration: N images that they are shown on.
        folder: of what is kept.

    Raises:
        GreenedgeError: features cannot be computed or kept.
    """
    costs = count_costs(network).exits
    names = [cost.after for cost in costs[:-1]]
    network = to_device(network, choose_device("auto"), channels_last=True)
    settings = FeaturePass(
        build_transform(model.config.data, channels_last=True),
        tuple(range(len(names))),
        pooled=True,
        too_large="give another --out, or fewer --images",
    )
    sources = [features_source(network, split, settings) for split in (train, calibration)]
    source = hashlib.sha256(" ".join([PROBE_VERSION, *sources]).encode()).hexdigest()
    shape = (len(calibration), len(names) + 1, len(model.classes))
    specs = [ArraySpec("logits", "<f4", shape)]

    kept = open_arrays(folder / _PROBES, source, specs)
    if kept is None:
        logits = _probe_logits(network, train, calibration, settings, folder)
        kept = write_arrays(folder / _PROBES, source, specs, [[logits]])
    else:
        _log.info("%s: probes of these weights on these images are kept there; the network need not run", folder)
    return Candidates(
        tuple(names),
        np.ascontiguousarray(kept[0].transpose(1, 0, 2)),
        calibration.labels[calibration.rows],
        np.array([cost.trunk_gflops for cost in costs]),
        np.array([cost.head_gflops for cost in costs]),
    )


def _probe_logits(
    network: MultiExitNetwork, train: PreparedSplit, calibration: PreparedSplit, settings: FeaturePass, folder: Path
) -> np.ndarray:
    """float32 (N, P + 1, C): of each probe, and of the network's own classifier."""
    known, shown = (
        load_or_compute_features(network, split, settings, folder / split.name) for split in (train, calibration)
    )
    labels, classes = train.labels[train.rows], len(train.classes)
    pairs = list(zip(known, shown, strict=True))[: len(settings.positions)]
    logits = [
        fit_probe(features, labels, classes).logits(others)
        for features, others in tqdm(pairs, desc="fitting probes", unit=" blocks", disable=None, leave=False)
    ]
    return np.stack([*logits, shown[len(settings.positions)]], axis=1)
