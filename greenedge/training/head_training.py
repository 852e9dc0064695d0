"""Heads trained on kept features of a frozen backbone: what that needs of a config, and a run's own features."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

from greenedge.config.load import plain_value
from greenedge.data.kept_arrays import remove_arrays
from greenedge.data.prepared import PreparedSplit
from greenedge.training.feature_pass import FeaturePass, load_or_compute_features
from greenedge.training.kept_features import KeptFeatures
from greenedge.training.run import Run
from greenedge.training.run_files import FEATURES

_MONITOR = "monitor"


def with_kept_features(run: Run, stop_requested: Callable[[], bool]) -> Run:
    """The run with the features that its heads are trained on and watched on, computed where they are not kept.

    Args:
        run: whose network has its weights; without `train.kept_features` it is returned as it is.
        stop_requested: asked before each batch.

    Raises:
        GreenedgeError: they cannot be computed or kept.
        PassStopped: before they were complete.
    """
    views, state, teacher = run.config.train.kept_features, run.state, run.settings.teacher
    if views is None or state.epoch >= run.settings.epochs:
        return run
    watched = FeaturePass(
        run.settings.transform,
        tuple(state.network.exit_positions),
        autocast=run.settings.autocast,
        too_large="give another --out, fewer views (train.kept_features) or fewer images (data.train_fraction)",
    )
    learnt_from = dataclasses.replace(
        watched,
        views=views,
        augment=run.settings.augment,
        augment_names=json.dumps(plain_value(run.config.augment)),
        seed=run.config.train.seed,
        crops=run.settings.crops,
        teacher=teacher,
        teacher_name="" if teacher is None else run.state.data,
    )
    folder, splits = run.out / FEATURES, run.splits

    def kept(split: PreparedSplit, settings: FeaturePass, name: str) -> KeptFeatures:
        arrays = load_or_compute_features(state.network, split, settings, folder / name, stop_requested)
        features, others = arrays[: len(settings.positions)], arrays[len(settings.positions) :]
        return KeptFeatures(split.labels[split.rows], features, *others)

    monitor = kept(splits.monitor, watched, _MONITOR)
    settings = dataclasses.replace(run.settings, kept=kept(splits.train, learnt_from, splits.train.name))
    return dataclasses.replace(run, settings=settings, kept_monitor=monitor)


def remove_features(run: Run) -> None:
    """Removes a run's kept features: they are large, and were computed from weights and images that are still there."""
    folder = run.out / FEATURES
    if run.config.train.kept_features is None or not folder.is_dir():
        return
    for name in (_MONITOR, run.splits.train.name):
        remove_arrays(folder / name)
    folder.rmdir()
