"""`greenedge predict`: what a trained network says of image files, stopping early where it is sure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from greenedge.cost.flops import count_costs
from greenedge.data.decode import decode_image
from greenedge.errors import DataError, UsageError
from greenedge.exits.confidence import find_criterion
from greenedge.inference.early import answer_early
from greenedge.reporting.figures import exit_name
from greenedge.reporting.tables import format_table
from greenedge.training.precision import choose_device
from greenedge.workflows.build import build_transform, load_model, place
from greenedge.workflows.labels import class_labels
from greenedge.workflows.report import Report

_BATCH = 64


def predict(
    weights: Path, images: Sequence[Path], threshold: float | None, criterion: str | None, labels_map: Path | None
) -> Report:
    """Classifies image files.

    Files are decoded as `data prepare` does it: the shorter side scaled to the size of the images the network was
    trained on, and cropped at the centre.

    Args:
        weights: a checkpoint.
        images: files.
        threshold: in the criterion's unit; None: nothing leaves early.
        criterion: a name in `CRITERIA`; None: the recipe's.
        labels_map: a map from class indices to labels to answer in; None: the data set's own.

    Raises:
        GreenedgeError: the checkpoint, an image or the map cannot be used.
    """
    if not images:
        raise UsageError("name at least one image")
    model = load_model(weights)
    labels = class_labels(model.classes, labels_map)
    criterion = criterion or model.config.sweep.criterion
    rule = find_criterion(criterion)
    chosen = rule.never if threshold is None else threshold
    pixels = np.stack([decode_image(_read(path), str(path), model.stored_size) for path in images])
    cost = count_costs(model.network, model.config.data.image_size)
    device = choose_device("auto")
    channels_last = model.config.train.channels_last
    network = place(model.network, device, channels_last=channels_last)
    transform = build_transform(model.config.data, channels_last=channels_last)
    predictions = []
    for start in range(0, len(images), _BATCH):
        batch = transform(torch.from_numpy(pixels[start : start + _BATCH]).to(device))
        answers = answer_early(network, batch, rule, chosen)
        scores, probabilities = rule.score(answers.logits), answers.logits.softmax(dim=1)
        for offset, index in enumerate(answers.logits.argmax(dim=1).tolist()):
            exit_index = int(answers.exits[offset])
            predictions.append(
                {
                    "image": str(images[start + offset]),
                    "class": index,
                    "label": labels[index],
                    "name": model.classes[index].name,
                    "probability": float(probabilities[offset, index]),
                    "exit": exit_index + 1,
                    criterion: float(scores[offset]),
                    "gflops": cost.exits[exit_index].gflops,
                }
            )
    gflops = sum(float(each["gflops"]) for each in predictions) / len(predictions)
    rows = [
        [
            each["image"],
            each["label"],
            each["name"],
            f"{100 * each['probability']:.1f}",
            exit_name(each["exit"] - 1, network.num_exits),
            f"{each[criterion]:.3f}",
            f"{each['gflops']:.4f}",
        ]
        for each in predictions
    ]
    headers = ["image", "label", "name", "probability (%)", "left at", f"{criterion} ({rule.unit})", "GFLOPs"]
    text = format_table(headers, rows)
    text += f"\n{criterion} threshold {chosen:g} ({rule.unit}): {gflops:.4f} GFLOPs an image"
    return Report(text, {"criterion": criterion, "threshold": chosen, "gflops": gflops, "predictions": predictions})


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"{path}: no such image")
    return path.read_bytes()
