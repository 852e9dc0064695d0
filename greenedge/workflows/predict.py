"""`greenedge predict`: what a trained network says of image files, stopping early where it is sure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from greenedge.data.decode import decode_image
from greenedge.device.precision import choose_device
from greenedge.errors import DataError, UsageError
from greenedge.inference import Engine
from greenedge.reporting.figures import exit_name
from greenedge.reporting.tables import format_table
from greenedge.workflows.build import build_transform, load_model, place
from greenedge.workflows.labels import class_labels
from greenedge.workflows.policies import PolicyOptions, choose_policy, describe_policy
from greenedge.workflows.report import Report

_BATCH = 64


def predict(weights: Path, images: Sequence[Path], options: PolicyOptions, labels_map: Path | None) -> Report:
    """Classifies image files.

    Files are decoded as `data prepare` does it: the shorter side scaled to the size of the images the network was
    trained on, and cropped at the centre.

    Args:
        weights: a checkpoint.
        images: files.
        options: when images leave.
        labels_map: a map from class indices to labels to answer in; None: the data set's own.

    Raises:
        GreenedgeError: the checkpoint, the policy, an image or the map cannot be used.
    """
    if not images:
        raise UsageError("name at least one image")
    model = load_model(weights)
    labels = class_labels(model.classes, labels_map)
    policy = choose_policy(model, weights, options)
    pixels = np.stack([decode_image(_read(path), str(path), model.stored_size) for path in images])
    device = choose_device("auto")
    engine = Engine(place(model.network, device, channels_last=True), policy, precision="float32")
    transform = build_transform(model.config.data, channels_last=True)
    batches = np.split(pixels, range(_BATCH, len(pixels), _BATCH))
    answers = engine.stream(transform(torch.from_numpy(batch).to(device)) for batch in batches)
    columns = ("predictions", "exits", "confidence", "scores", "gflops")
    rows_of_batches = (zip(*(getattr(each, name).tolist() for name in columns), strict=True) for each in answers)
    predictions = [
        {
            "image": str(path),
            "class": index,
            "label": labels[index],
            "name": model.classes[index].name,
            "probability": confidence,
            "exit": exit_index + 1,
            policy.criterion: score,
            "gflops": gflops,
        }
        for path, (index, exit_index, confidence, score, gflops) in zip(
            images, itertools.chain.from_iterable(rows_of_batches), strict=True
        )
    ]
    gflops = sum(float(each["gflops"]) for each in predictions) / len(predictions)
    rows = [
        [
            each["image"],
            each["label"],
            each["name"],
            f"{100 * each['probability']:.1f}",
            exit_name(each["exit"] - 1, model.network.num_exits),
            f"{each[policy.criterion]:.3f}",
            f"{each['gflops']:.4f}",
        ]
        for each in predictions
    ]
    headers = [
        "image",
        "label",
        "name",
        "probability (%)",
        "left at",
        f"{policy.criterion} ({policy.rule.unit})",
        "GFLOPs",
    ]
    text = format_table(headers, rows)
    text += f"\n{describe_policy(policy)}: {gflops:.4f} GFLOPs an image"
    return Report(text, {**dataclasses.asdict(policy), "gflops": gflops, "predictions": predictions})


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"{path}: no such image")
    return path.read_bytes()
