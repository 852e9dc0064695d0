"""`greenedge predict`: what a trained network predicts for image files, exiting early where it is confident."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.data.label_spaces import class_labels, unchecked_labels
from greenedge.data.loader import build_transform
from greenedge.device.precision import Precision
from greenedge.errors import UsageError
from greenedge.inference.classify import ClassifiedImages, classify_files
from greenedge.inference.runtimes import Runtime
from greenedge.reporting.blocks import CommandResult
from greenedge.reporting.predictions import present_predictions
from greenedge.workflows.models import build_engine, open_model
from greenedge.workflows.policies import PolicyOptions, requested_precision, resolve_policy, with_policy_beside

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class PredictOptions:
    """How images are classified.

    Attributes:
        policy: when images exit; where nothing is said, by the policy beside the weights.
        labels_map: a map from class indices to labels to predict in; None: the data set's own.
        precision: what the network runs in; None: what the policy was chosen in, else float32.
        runtime: that runs an export; None: ONNX Runtime.
    """

    policy: PolicyOptions = PolicyOptions()
    labels_map: Path | None = None
    precision: Precision | None = None
    runtime: Runtime | None = None


def predict(weights: Path, images: Sequence[Path], options: PredictOptions) -> CommandResult[ClassifiedImages]:
    """Classifies image files.

    Args:
        weights: a checkpoint, or the folder of an export.
        images: files.
        options: how.

    Raises:
        GreenedgeError: the checkpoint, the policy or the map cannot be used, or none of the files.
    """
    if not images:
        raise UsageError("name at least one image")
    model = open_model(weights, options.runtime)
    labels = class_labels(model.classes, options.labels_map)
    note = unchecked_labels(model.classes, options.labels_map, labels)
    if note is not None:
        _log.warning("%s", note)

    chosen = with_policy_beside(model, options.policy)
    policy = resolve_policy(model, chosen)
    engine = build_engine(model, policy, requested_precision(model, chosen, options.precision))
    transform = build_transform(model.config.data, channels_last=True)
    found = classify_files(engine, transform, images, model.stored_size)
    return present_predictions(found, policy, model.classes, labels)
