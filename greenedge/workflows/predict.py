"""`greenedge predict`: what a trained network says of image files, stopping early where it is confident."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenedge.data.decode import decode_image
from greenedge.device.precision import Precision, choose_device
from greenedge.errors import DataError, UsageError
from greenedge.inference import Engine
from greenedge.reporting.names import exit_name
from greenedge.reporting.tables import format_table
from greenedge.workflows.build import build_transform, to_device
from greenedge.workflows.labels import class_labels, unchecked_labels
from greenedge.workflows.policies import (
    PolicyOptions,
    requested_precision,
    resolve_policy,
    with_policy_beside,
)
from greenedge.workflows.report import Report
from greenedge.workflows.trained import load_model

_BATCH = 64
_LARGEST_BYTES = 1_000_000_000  # of a file


@dataclass(frozen=True)
class PredictOptions:
    """How images are classified.

    Attributes:
        policy: when images exit; where nothing is said, by the policy beside the weights.
        labels_map: a map from class indices to labels to predict in; None: the data set's own.
        precision: what the network runs in; None: what the policy was chosen in, else float32.
    """

    policy: PolicyOptions = PolicyOptions()
    labels_map: Path | None = None
    precision: Precision | None = None


def predict(weights: Path, images: Sequence[Path], options: PredictOptions, say: Callable[[str], None]) -> Report:
    """Classifies image files.

    Files are decoded as `data prepare` does it: the shorter side scaled to the size of the images the network was
    trained on, and cropped at the centre. Batches of files are decoded as they are needed; a file that cannot be used
    costs no other its prediction.

    Args:
        weights: a checkpoint.
        images: files.
        options: how.
        say: told what happens, and of each file that cannot be used.

    Raises:
        GreenedgeError: the checkpoint, the policy or the map cannot be used, or none of the files.
    """
    if not images:
        raise UsageError("name at least one image")
    model = load_model(weights)
    labels = class_labels(model.classes, options.labels_map)
    note = unchecked_labels(model.classes, options.labels_map, labels)
    if note is not None:
        say(note)
    chosen = with_policy_beside(weights, options.policy, say)
    policy = resolve_policy(model, chosen)
    precision = requested_precision(chosen, options.precision)
    device = choose_device("auto")
    engine = Engine(to_device(model.network, device, channels_last=True), policy, precision=precision)
    transform = build_transform(model.config.data, channels_last=True)

    used: list[Path] = []
    failed: list[dict[str, str]] = []

    def batches() -> Iterator[torch.Tensor]:
        for start in range(0, len(images), _BATCH):
            pixels = []
            for path in images[start : start + _BATCH]:
                try:
                    pixels.append(decode_image(_read(path), str(path), model.stored_size))
                    used.append(path)
                except DataError as error:
                    say(f"left out: {error}")
                    failed.append({"image": str(path), "error": str(error)})
            if pixels:
                yield transform(torch.from_numpy(np.stack(pixels)).to(device))

    columns = ("predictions", "exits", "confidence", "scores", "gflops")
    found = [
        row
        for batch in engine.stream(batches())
        for row in zip(*(getattr(batch, name).tolist() for name in columns), strict=True)
    ]
    if not found:
        raise DataError(failed[0]["error"] if len(images) == 1 else f"none of the {len(images)} images can be used")
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
        for path, (index, exit_index, confidence, score, gflops) in zip(used, found, strict=True)
    ]
    gflops = sum(float(each["gflops"]) for each in predictions) / len(predictions)
    unit = f"{policy.criterion} ({policy.get_criterion().unit})"
    text = _table(predictions, policy.criterion, unit, model.num_exits)
    text += f"\n{policy}: {gflops:.4f} GFLOPs per image"
    problem = f"{len(failed)} of {len(images)} images cannot be used, and have no prediction" if failed else None
    result = {**dataclasses.asdict(policy), "gflops": gflops, "predictions": predictions, "failed": failed}
    return Report(text, result, problem)


def _table(predictions: Sequence[dict[str, Any]], criterion: str, unit: str, num_exits: int) -> str:
    rows = [
        [
            each["image"],
            each["label"],
            each["name"],
            f"{100 * each['probability']:.1f}",
            exit_name(each["exit"] - 1, num_exits),
            f"{each[criterion]:.3f}",
            f"{each['gflops']:.4f}",
        ]
        for each in predictions
    ]
    headers = ["image", "label", "name", "probability (%)", "exit", unit, "GFLOPs"]
    return format_table(headers, rows)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such image")
        if path.stat().st_size > _LARGEST_BYTES:
            raise DataError(f"{path}: is larger than {_LARGEST_BYTES // 10**6} MB, which no image is")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
